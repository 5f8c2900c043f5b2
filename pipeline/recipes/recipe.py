"""YAML -> Recipe, with file:line:column in every error and all errors together.

This module checks what one file says on its own: its shape, its names, and that what it extends
exists. Params are checked in `params.py`, once every file has had its say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recast.pipeline.core.address import is_name
from recast.pipeline.core.errors import Problem, RecastError, RecipeError
from recast.pipeline.core.layout import DEFAULTS, GUARD, PACKAGE, RECIPES, TARGETS
from recast.pipeline.recipes.defaults import check_data_root, project_code, read_defaults
from recast.pipeline.recipes.document import Document, KeyPath, read_document
from recast.pipeline.recipes.misplaced_keys import belongs, top_level
from recast.pipeline.recipes.own_packages import REQUIREMENTS, OwnPackages, asked_in
from recast.pipeline.recipes.plugin_record import missing, unknown
from recast.pipeline.recipes.value_words import quoted, shortened, shown
from recast.stages.base import Params, ProjectCode
from recast.stages.common.spelling import did_you_mean
from recast.stages.providers import providers
from recast.stages.registry import REGISTRY, TRUNK, full_name, load, of_targets

SAID_AT_THE_TOP = ("model", "task")
"""what a recipe says once, for every stage that has such a param"""
_RECIPE_KEYS = ("extends", "isolated", *SAID_AT_THE_TOP, REQUIREMENTS, "stages", "targets")
_TARGET_KEYS = ("uses", "stages")
_NAME_REMEDY = "use letters, digits and _, starting with a letter"


@dataclass(frozen=True)
class Target:
    """A stage set: the stages a target adds, in running order, and the registered stage each one uses."""

    name: str
    document: Document
    uses: Mapping[str, str]
    is_a_plugins: bool = False
    """whether the stage set lies in a plugin rather than in the repository or Recast"""


@dataclass(frozen=True)
class Recipe:
    """What one recipe file says, and the recipe it extends."""

    name: str
    document: Document
    base: Recipe | None
    dropped: frozenset[str]
    """targets of the base that this recipe leaves out (`akida: false`)"""
    own_packages: Mapping[str, OwnPackages] = field(default_factory=dict)
    """environment -> what this file asks for there"""

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

    def packages(self, environment: str) -> OwnPackages | None:
        """What it, or the recipe it extends, asks for there; the file nearest to the recipe decides."""
        asked = [ancestor.own_packages.get(environment) for ancestor in self.chain]
        return next((found for found in reversed(asked) if found), None)

    def says(self, path: KeyPath) -> dict[str, Any]:
        """The mapping this file itself holds at a key path, empty if it says nothing."""
        return self.document.section(path, [])


class Recipes:
    """The recipes, targets and defaults below a repository root; each file is read once.

    Problems gather in `problems` while files are read; `refuse_problems` raises them together. `drafts`: recipe -> the
    text of a file that is not written yet.
    """

    def __init__(self, root: Path, drafts: Mapping[str, str] | None = None) -> None:
        self.root = root
        self._drafts = drafts or {}
        self.problems: list[Problem] = []
        self._recipes: dict[str, Recipe | None] = {}
        self._targets: dict[str, Target | None] = {}
        self.code = ProjectCode(root)
        self.own_packages: Mapping[str, OwnPackages] = {}
        self.defaults = self._read_defaults()

    def refuse_problems(self) -> None:
        """Raise RecipeError with every problem found so far, if there is one."""
        if self.problems:
            raise RecipeError(self.problems)

    def names(self) -> tuple[str, ...]:
        """Every recipe of the repository, sorted."""
        return tuple(sorted({*_stems(self.root / RECIPES), *self._drafts}))

    def known_targets(self) -> tuple[str, ...]:
        """Every target that has a stage set, in the repository's recipes/targets, Recast or a plugin, sorted."""
        provided = (name for provider in providers() for name in provider.targets)
        return tuple(sorted({*_stems(self.root / TARGETS), *provided}))

    def check_file_names(self) -> None:
        """A recipe that would be overlooked for its suffix is a problem."""
        for folder in (RECIPES, TARGETS):
            for path in sorted((self.root / folder).glob("*.yml")):
                file = f"{folder}/{path.name}"
                self.problems.append(Problem(file, 1, 1, "would be overlooked", f"rename it to {path.stem}.yaml"))

    def require(self, name: str) -> Recipe | None:
        """The recipe a user asked for by name; RecastError if there is no such file."""
        if not is_name(name):
            stem = name.removeprefix(f"{RECIPES}/").removesuffix(".yaml")
            if is_name(stem) and stem in self.names():
                raise RecastError(f"{quoted(name)} is a file and no recipe's name", f"name the recipe: {stem}")
            raise RecastError(f"{quoted(name)} is no recipe name", f"{_NAME_REMEDY}; {self._meant(name)}")
        if name not in self.names():
            raise RecastError(f"no recipe named '{name}' in {RECIPES}/", self._meant(name))
        return self.recipe(name)

    def _meant(self, name: str) -> str:
        return did_you_mean(name, filter(is_name, self.names()))

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
        document = read_defaults(self.root, self.problems)
        if document is None:
            return Document(DEFAULTS, {}, {})
        check_data_root(document, self.problems)
        self.code = project_code(self.root, document, self.problems)
        self.own_packages = asked_in(document, None, self.problems)
        self._check_trunk_stages(document)
        for name in self._check_targets(document, self._peek):
            message = f"'{name}: false' is for a recipe that inherits the target"
            self.problems.append(document.problem(("targets", name), message, "drop the line"))
        return document

    def _read_recipe(self, name: str, extending: tuple[str, ...]) -> Recipe | None:
        file = f"{RECIPES}/{name}.yaml"
        if not is_name(name):
            self.problems.append(Problem(file, 1, 1, f"{quoted(name)} is no plain name for a recipe", _NAME_REMEDY))
            return None
        if name == GUARD:
            self.problems.append(Problem(file, 1, 1, f"'{GUARD}' is reserved", "rename the recipe"))
            return None
        document = read_document(self.root, file, self.problems, draft=self._drafts.get(name))
        if document is None:
            return None
        before = len(self.problems)
        self._refuse_unknown(document)
        if not isinstance(document.values.get("isolated", False), bool):
            message = f"'isolated' must be true or false, not {shown(document.values['isolated'])}"
            self.problems.append(
                document.problem(("isolated",), message, "true gives every stage a process of its own")
            )
        own_packages = asked_in(document, name, self.problems)
        self._check_trunk_stages(document)
        dropped = self._check_targets(document)
        base = self._base(document, (*extending, name))
        if base or "extends" not in document.values:
            self._refuse_nothing_dropped(document, dropped, base)
        # a base that cannot be used has been reported, perhaps long before this file was read
        if len(self.problems) > before or (base is None and "extends" in document.values):
            return None
        return Recipe(name, document, base, dropped, own_packages)

    def _refuse_unknown(self, document: Document) -> None:
        for key in document.values:
            if key not in _RECIPE_KEYS:
                remedy = top_level(key, self.known_targets()) or did_you_mean(key, _RECIPE_KEYS)
                self.problems.append(document.problem((key,), f"unknown key '{shortened(key)}'", remedy))

    def _base(self, document: Document, extending: tuple[str, ...]) -> Recipe | None:
        if "extends" not in document.values:
            return None
        name = document.values["extends"]
        if not is_name(name):
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
            if of_targets(stage):
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
            if not is_name(name):
                message = f"{quoted(name)} is no plain name for a target"
                self.problems.append(document.problem(path, message, _NAME_REMEDY))
                continue
            if name not in self.known_targets():
                wrong = unknown(self.root, "target", name, self.known_targets(), f" in {TARGETS}/")
                self.problems.append(document.problem(path, *wrong))
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

    def _stage_set(self, name: str) -> tuple[Path, str, bool]:
        """Where the target's stage set is: a folder, the file in it as users are shown it, and if it is a plugin's.

        The repository's own goes before one of Recast or a plugin.
        """
        file = f"{TARGETS}/{name}.yaml"
        own = self.root / file
        if not (own.exists() or own.is_symlink()):
            for provider in providers():
                if name in provider.targets:
                    if not provider.is_installed:
                        return PACKAGE, file, False
                    folder = provider.package.parent
                    return folder, provider.targets[name].relative_to(folder).as_posix(), True
        return self.root, file, False

    def _read_target(self, name: str) -> Target | None:
        folder, file, is_a_plugins = self._stage_set(name)
        document = read_document(folder, file, self.problems)
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
            registered = chosen.get(stage, full_name(name, stage))
            path: KeyPath = ("uses", stage) if stage in chosen else ("stages", stage)
            if not is_name(stage):
                self.problems.append(document.problem(path, f"'{stage}' is no plain name for a stage", _NAME_REMEDY))
            elif not isinstance(registered, str) or registered not in REGISTRY:
                alike = of_targets(stage)
                if not isinstance(registered, str):
                    wrong = f"no registered stage named {shown(registered)}", did_you_mean(str(registered), REGISTRY)
                elif stage in chosen or not alike:
                    wrong = unknown(self.root, "stage", shortened(registered), REGISTRY, called="registered stage")
                else:
                    remedy = f"write 'uses: {{{stage}: NAME}}' with one of {', '.join(alike)}"
                    wrong = missing(self.root, "stage", registered) or (
                        f"no registered stage named '{shortened(registered)}'",
                        remedy,
                    )
                self.problems.append(document.problem(path, *wrong))
            uses[stage] = str(registered)
        for stage in chosen:
            if stage not in uses:
                message = f"'uses' names the stage '{stage}', which 'stages' does not list"
                self.problems.append(document.problem(("uses", stage), message, did_you_mean(stage, uses)))
        if not uses and len(self.problems) == before:
            self.problems.append(document.problem((), "a target needs at least one stage", "list them under 'stages'"))
        return Target(name, document, uses, is_a_plugins) if len(self.problems) == before else None


def _as_stage(stage: str, uses: str, says: object) -> str:
    """How to write a stage that was not written as a mapping: by the param its value is one of, if there is one."""
    params = load(uses).params if uses in REGISTRY else Params
    own = params.__annotations__
    # what makes the stage another than the one it is like comes first: `scheme` of wasm's quantize
    for name, info in sorted(params.model_fields.items(), key=lambda item: item[0] not in own):
        if isinstance(says, str) and says != info.default and says in getattr(info.annotation, "__args__", ()):
            return f"write '{stage}: {{{name}: {says}}}'"
    return f"write '{stage}: {{PARAM: value}}', or '{stage}: {{}}' to take it as it is"


def _stems(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.yaml") if not path.name.startswith(".")))
