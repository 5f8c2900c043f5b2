"""YAML -> Recipe, with file:line:column in every error and all errors together.

This module checks what one file says on its own: its shape, its names, and that what it extends
exists. Params are checked in `plan.py`, once every file has had its say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.belonging import belongs, top_level
from pipeline.document import Document, KeyPath, read_document
from pipeline.errors import Problem, RecastError, RecipeError
from pipeline.layout import DEFAULTS, GUARD, RECIPES, TARGETS
from pipeline.wording import quoted, shortened, shown
from stages.base import Params
from stages.registry import REGISTRY, TRUNK, load
from stages.spelling import did_you_mean

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_RECIPE_KEYS = ("extends", "isolated", "model", "stages", "targets")
_DEFAULTS_KEYS = ("data_root", "stages", "targets")
_TARGET_KEYS = ("uses", "stages")
_NO_DATA = (".dvc", ".git", ".recast", ".venv", "dist-packages", "site-packages")
"""folders that hold programs, or what decides what is run; a download would come among them"""
_NAME_REMEDY = "use letters, digits and _, starting with a letter"


def is_identifier(name: object) -> bool:
    """Whether a name is plain: it can become neither a path nor a shell word."""
    return isinstance(name, str) and _IDENTIFIER.fullmatch(name) is not None


@dataclass(frozen=True)
class Target:
    """A stage set: the stages a target adds, in running order, and the registered stage each one uses."""

    name: str
    document: Document
    uses: Mapping[str, str]


@dataclass(frozen=True)
class Recipe:
    """What one recipe file says, and the recipe it extends."""

    name: str
    document: Document
    base: Recipe | None
    dropped: frozenset[str]
    """targets of the base that this recipe leaves out (`akida: false`)"""

    @property
    def chain(self) -> tuple[Recipe, ...]:
        """This recipe and its bases, the root of the inheritance first."""
        return (*self.base.chain, self) if self.base else (self,)

    @property
    def target_names(self) -> tuple[str, ...]:
        """Inherited targets first, then its own, in the order of the files."""
        inherited = self.base.target_names if self.base else ()
        own = tuple(self.document.section(("targets",), []))
        return tuple(name for name in dict.fromkeys(inherited + own) if name not in self.dropped)

    @property
    def isolated(self) -> bool:
        """Whether its stages run in processes started from nothing; the file nearest to the recipe decides."""
        said = [ancestor.document.values.get("isolated") for ancestor in self.chain]
        return next((value for value in reversed(said) if value is not None), False)

    def says(self, path: KeyPath) -> dict[str, Any]:
        """The mapping this file itself holds at a key path, empty if it says nothing."""
        return self.document.section(path, [])


class Recipes:
    """The recipes, targets and defaults below a repository root; each file is read once.

    Problems gather in `problems` while files are read; `refuse_problems` raises them together.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[Problem] = []
        self._recipes: dict[str, Recipe | None] = {}
        self._targets: dict[str, Target | None] = {}
        self.defaults = self._read_defaults()

    def refuse_problems(self) -> None:
        """Raise RecipeError with every problem found so far, if there is one."""
        if self.problems:
            raise RecipeError(self.problems)

    def names(self) -> tuple[str, ...]:
        """Every recipe of the repository, sorted."""
        return _stems(self.root / RECIPES)

    def known_targets(self) -> tuple[str, ...]:
        """Every target that has a stage set in recipes/targets, sorted."""
        return _stems(self.root / TARGETS)

    def check_file_names(self) -> None:
        """A recipe that would be overlooked for its suffix is a problem."""
        for folder in (RECIPES, TARGETS):
            for path in sorted((self.root / folder).glob("*.yml")):
                file = f"{folder}/{path.name}"
                self.problems.append(Problem(file, 1, 1, "would be overlooked", f"rename it to {path.stem}.yaml"))

    def require(self, name: str) -> Recipe | None:
        """The recipe a user asked for by name; RecastError if there is no such file."""
        if not is_identifier(name):
            stem = name.removeprefix(f"{RECIPES}/").removesuffix(".yaml")
            if is_identifier(stem) and stem in self.names():
                raise RecastError(f"{quoted(name)} is a file and no recipe's name", f"name the recipe: {stem}")
            raise RecastError(f"{quoted(name)} is no recipe name", f"{_NAME_REMEDY}; {self._meant(name)}")
        if name not in self.names():
            raise RecastError(f"no recipe named '{name}' in {RECIPES}/", self._meant(name))
        return self.recipe(name)

    def _meant(self, name: str) -> str:
        return did_you_mean(name, filter(is_identifier, self.names()))

    def recipe(self, name: str, extending: tuple[str, ...] = ()) -> Recipe | None:
        """The recipe of that name; None, with problems gathered, if its file cannot be used."""
        if name not in self._recipes:
            self._recipes[name] = self._read_recipe(name, extending)
        return self._recipes[name]

    def target(self, name: str) -> Target | None:
        """The target of that name; None, with problems gathered, if its file cannot be used."""
        if name not in self._targets:
            self._targets[name] = self._read_target(name)
        return self._targets[name]

    def _read_defaults(self) -> Document:
        document = read_document(self.root, DEFAULTS, self.problems)
        if document is None:
            return Document(DEFAULTS, {}, {})
        document.refuse_unknown((), _DEFAULTS_KEYS, self.problems)
        places = document.values.get("data_root", "downloads")
        places = places if isinstance(places, list) else [places]
        if not places or not all(isinstance(place, str) and place for place in places):
            message = "'data_root' must be a folder or a list of folders"
            self.problems.append(document.problem(("data_root",), message, "for example 'downloads'"))
        elif any(part in _NO_DATA for place in places for part in Path(place).parts):
            message = f"'data_root' may not lie in {' or '.join(_NO_DATA)}: what is there may be run"
            self.problems.append(document.problem(("data_root",), message, "for example 'downloads'"))
        self._check_trunk_stages(document)
        for name in self._check_targets(document, self._peek):
            message = f"'{name}: false' is for a recipe that inherits the target"
            self.problems.append(document.problem(("targets", name), message, "drop the line"))
        return document

    def _read_recipe(self, name: str, extending: tuple[str, ...]) -> Recipe | None:
        file = f"{RECIPES}/{name}.yaml"
        if not is_identifier(name):
            self.problems.append(Problem(file, 1, 1, f"{quoted(name)} is no plain name for a recipe", _NAME_REMEDY))
            return None
        if name == GUARD:
            self.problems.append(Problem(file, 1, 1, f"'{GUARD}' is reserved", "rename the recipe"))
            return None
        document = read_document(self.root, file, self.problems)
        if document is None:
            return None
        before = len(self.problems)
        self._refuse_unknown(document)
        if not isinstance(document.values.get("isolated", False), bool):
            message = f"'isolated' must be true or false, not {shown(document.values['isolated'])}"
            self.problems.append(
                document.problem(("isolated",), message, "true gives every stage a process of its own")
            )
        self._check_trunk_stages(document)
        dropped = self._check_targets(document)
        base = self._base(document, (*extending, name))
        if base or "extends" not in document.values:
            self._refuse_nothing_dropped(document, dropped, base)
        # a base that cannot be used has been reported, perhaps long before this file was read
        if len(self.problems) > before or (base is None and "extends" in document.values):
            return None
        return Recipe(name, document, base, dropped)

    def _refuse_unknown(self, document: Document) -> None:
        for key in document.values:
            if key not in _RECIPE_KEYS:
                remedy = top_level(key, self.known_targets()) or did_you_mean(key, _RECIPE_KEYS)
                self.problems.append(document.problem((key,), f"unknown key '{shortened(key)}'", remedy))

    def _base(self, document: Document, extending: tuple[str, ...]) -> Recipe | None:
        if "extends" not in document.values:
            return None
        name = document.values["extends"]
        if not is_identifier(name):
            said = name[0] if isinstance(name, list) and len(name) == 1 else name
            stem = str(said).removeprefix(f"{RECIPES}/").removesuffix(".yaml")
            others = [other for other in self.names() if f"{RECIPES}/{other}.yaml" != document.file]
            remedy = f"write 'extends: {stem}'" if stem in others else self._meant(stem)
            message = f"'extends' must be the plain name of a recipe, not {shown(name)}"
            self.problems.append(document.problem(("extends",), message, remedy))
        elif name in extending:
            loop = " → ".join((*extending[extending.index(name) :], name))
            self.problems.append(document.problem(("extends",), f"recipes extend each other: {loop}", "break the loop"))
        elif name not in self.names():
            message = f"extends '{name}', but there is no {RECIPES}/{name}.yaml"
            self.problems.append(document.problem(("extends",), message, self._meant(name)))
        else:
            return self.recipe(name, extending)
        return None

    def _refuse_nothing_dropped(self, document: Document, dropped: Iterable[str], base: Recipe | None) -> None:
        inherited = base.target_names if base else ()
        for name in dropped:
            if name not in inherited:
                message = f"'{name}: false' leaves out a target that the recipe does not inherit"
                remedy = did_you_mean(name, inherited) if inherited else "drop the line"
                self.problems.append(document.problem(("targets", name), message, remedy))

    def _check_trunk_stages(self, document: Document) -> None:
        for stage in document.section(("stages",), self.problems):
            path: KeyPath = ("stages", stage)
            if stage in TRUNK:
                document.section(path, self.problems, _as_stage(stage, stage, document.values["stages"][stage]))
                continue
            remedy = did_you_mean(stage, TRUNK)
            if any(name.endswith(f".{stage}") for name in REGISTRY):
                remedy = "it belongs below the target, as 'targets: {NAME: {" + stage + ": {…}}}'"
            elif stage in self.known_targets():
                remedy = top_level(stage, [stage])
            elif params := belongs(stage):
                remedy = params
            self.problems.append(document.problem(path, f"no trunk stage named '{shortened(stage)}'", remedy))

    def _peek(self, name: str) -> Target | None:
        """The target, without a word about what is wrong with it: that is said to those who use it."""
        before = len(self.problems)
        found = self._read_target(name)
        del self.problems[before:]
        return found

    def _check_targets(
        self, document: Document, target_of: Callable[[str], Target | None] | None = None
    ) -> frozenset[str]:
        dropped = set()
        for name, says in document.section(("targets",), self.problems, self._as_targets(document)).items():
            path: KeyPath = ("targets", name)
            if not is_identifier(name):
                message = f"{quoted(name)} is no plain name for a target"
                self.problems.append(document.problem(path, message, _NAME_REMEDY))
                continue
            if name not in self.known_targets():
                remedy = did_you_mean(name, self.known_targets())
                self.problems.append(document.problem(path, f"no target named '{name}' in {TARGETS}/", remedy))
                continue
            if says is False:
                dropped.add(name)
                continue
            target = (target_of or self.target)(name)
            remedy = f"write '{name}: {{}}' to take it as it is, or '{name}: false' to leave out an inherited one"
            for stage, what in document.section(path, self.problems, remedy).items():
                if target and stage not in target.uses and stage not in TRUNK:
                    known = (*target.uses, *TRUNK)
                    message = f"target '{name}' has no stage named '{shortened(stage)}'"
                    remedy = belongs(stage, target=name) or did_you_mean(stage, known)
                    self.problems.append(document.problem((*path, stage), message, remedy))
                else:
                    uses = stage if stage in TRUNK else target.uses.get(stage, "") if target else ""
                    document.section((*path, stage), self.problems, _as_stage(stage, uses, what))
        return frozenset(dropped)

    def _as_targets(self, document: Document) -> str:
        """How to write targets that were not written as a mapping."""
        said = document.values.get("targets")
        names = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        known = [name for name in self.known_targets() if name in names]
        return f"write 'targets: {{{', '.join(f'{name}: {{}}' for name in known or ['NAME'])}}}'"

    def _read_target(self, name: str) -> Target | None:
        file = f"{TARGETS}/{name}.yaml"
        document = read_document(self.root, file, self.problems)
        if document is None:
            return None
        before = len(self.problems)
        if name in TRUNK:
            self.problems.append(document.problem((), f"a target may not bear the trunk's name '{name}'", "rename it"))
        document.refuse_unknown((), _TARGET_KEYS, self.problems)
        chosen = document.section(("uses",), self.problems)
        uses = {}
        for stage in document.section(("stages",), self.problems):
            document.section(("stages", stage), self.problems)
            if stage in TRUNK:
                continue  # defaults that give the target its own branch of the trunk
            registered = chosen.get(stage, f"{name}.{stage}")
            path: KeyPath = ("uses", stage) if stage in chosen else ("stages", stage)
            if not is_identifier(stage):
                self.problems.append(document.problem(path, f"'{stage}' is no plain name for a stage", _NAME_REMEDY))
            elif registered not in REGISTRY:
                as_name = f"'{shortened(registered)}'" if isinstance(registered, str) else shown(registered)
                alike = [known for known in REGISTRY if known.endswith(f".{stage}")]
                remedy = f"write 'uses: {{{stage}: NAME}}' with one of {', '.join(alike)}"
                if stage in chosen or not alike:
                    remedy = did_you_mean(str(registered), REGISTRY)
                self.problems.append(document.problem(path, f"no registered stage named {as_name}", remedy))
            uses[stage] = str(registered)
        for stage in chosen:
            if stage not in uses:
                message = f"'uses' names the stage '{stage}', which 'stages' does not list"
                self.problems.append(document.problem(("uses", stage), message, did_you_mean(stage, uses)))
        if not uses and len(self.problems) == before:
            self.problems.append(document.problem((), "a target needs at least one stage", "list them under 'stages'"))
        return Target(name, document, uses) if len(self.problems) == before else None


def _as_stage(stage: str, uses: str, says: object) -> str:
    """How to write a stage that was not written as a mapping: by the param its value is one of, if there is one."""
    params = load(uses).params if uses in REGISTRY else Params
    own = params.__annotations__
    # what makes the stage another than the one it is like comes first: `scheme` of wasm's quantize
    for name, field in sorted(params.model_fields.items(), key=lambda item: item[0] not in own):
        if isinstance(says, str) and says != field.default and says in getattr(field.annotation, "__args__", ()):
            return f"write '{stage}: {{{name}: {says}}}'"
    return f"write '{stage}: {{PARAM: value}}', or '{stage}: {{}}' to take it as it is"


def _stems(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.yaml") if not path.name.startswith(".")))
