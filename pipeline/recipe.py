"""YAML -> Recipe, with file:line:column in every error and all errors together.

This module checks what one file says on its own: its shape, its names, and that what it extends
exists. Params are checked in `plan.py`, once every file has had its say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.document import Document, KeyPath, kind, read_document
from pipeline.errors import Problem, RecastError, RecipeError, did_you_mean
from pipeline.layout import DEFAULTS, GUARD, RECIPES, TARGETS
from stages.registry import REGISTRY, TRUNK

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_RECIPE_KEYS = ("extends", "isolated", "model", "stages", "targets")
_DEFAULTS_KEYS = ("data_root", "stages", "targets")
_TARGET_KEYS = ("uses", "stages")
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
            raise RecastError(f"{name!r} is no recipe name", f"{_NAME_REMEDY}; {did_you_mean(name, self.names())}")
        if name not in self.names():
            raise RecastError(f"no recipe named '{name}' in {RECIPES}/", did_you_mean(name, self.names()))
        return self.recipe(name)

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
        self._check_trunk_stages(document)
        for target in document.section(("targets",), self.problems):
            document.section(("targets", target), self.problems)
        return document

    def _read_recipe(self, name: str, extending: tuple[str, ...]) -> Recipe | None:
        file = f"{RECIPES}/{name}.yaml"
        if not is_identifier(name):
            self.problems.append(Problem(file, 1, 1, f"'{name}' is no plain name for a recipe", f"{_NAME_REMEDY}"))
            return None
        if name == GUARD:
            self.problems.append(Problem(file, 1, 1, f"'{GUARD}' is reserved", "rename the recipe"))
            return None
        document = read_document(self.root, file, self.problems)
        if document is None:
            return None
        before = len(self.problems)
        document.refuse_unknown((), _RECIPE_KEYS, self.problems)
        if not isinstance(document.values.get("isolated", False), bool):
            message = "'isolated' must be true or false"
            self.problems.append(
                document.problem(("isolated",), message, "true gives every stage a process of its own")
            )
        self._check_trunk_stages(document)
        dropped = self._check_targets(document)
        base = self._base(document, (*extending, name))
        # a base that cannot be used has been reported, perhaps long before this file was read
        if len(self.problems) > before or (base is None and "extends" in document.values):
            return None
        return Recipe(name, document, base, dropped)

    def _base(self, document: Document, extending: tuple[str, ...]) -> Recipe | None:
        if "extends" not in document.values:
            return None
        name = document.values["extends"]
        if not is_identifier(name):
            message = f"'extends' must be the plain name of a recipe, not {name!r}"
            self.problems.append(document.problem(("extends",), message, did_you_mean(str(name), self.names())))
        elif name in extending:
            loop = " → ".join((*extending[extending.index(name) :], name))
            self.problems.append(document.problem(("extends",), f"recipes extend each other: {loop}", "break the loop"))
        elif name not in self.names():
            message = f"extends '{name}', but there is no {RECIPES}/{name}.yaml"
            self.problems.append(document.problem(("extends",), message, did_you_mean(name, self.names())))
        else:
            return self.recipe(name, extending)
        return None

    def _check_trunk_stages(self, document: Document) -> None:
        for stage in document.section(("stages",), self.problems):
            path: KeyPath = ("stages", stage)
            if stage not in TRUNK:
                remedy = did_you_mean(stage, TRUNK)
                if any(name.endswith(f".{stage}") for name in REGISTRY):
                    remedy = "it belongs below the target, as 'targets: {NAME: {" + stage + ": …}}'"
                self.problems.append(document.problem(path, f"no trunk stage named '{stage}'", remedy))
            else:
                document.section(path, self.problems)

    def _check_targets(self, document: Document) -> frozenset[str]:
        dropped = set()
        for name, says in document.section(("targets",), self.problems).items():
            path: KeyPath = ("targets", name)
            if says is False:
                dropped.add(name)
                continue
            if not is_identifier(name):
                self.problems.append(document.problem(path, f"'{name}' is no plain name for a target", _NAME_REMEDY))
                continue
            if name not in self.known_targets():
                remedy = did_you_mean(name, self.known_targets())
                self.problems.append(document.problem(path, f"no target named '{name}' in {TARGETS}/", remedy))
                continue
            target = self.target(name)
            for stage in document.section(path, self.problems):
                if target and stage not in target.uses and stage not in TRUNK:
                    known = (*target.uses, *TRUNK)
                    message = f"target '{name}' has no stage named '{stage}'"
                    self.problems.append(document.problem((*path, stage), message, did_you_mean(stage, known)))
                else:
                    document.section((*path, stage), self.problems)
        return frozenset(dropped)

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
                shown = registered if isinstance(registered, str) else kind(registered)
                remedy = did_you_mean(str(registered), REGISTRY)
                self.problems.append(document.problem(path, f"no registered stage named '{shown}'", remedy))
            uses[stage] = str(registered)
        for stage in chosen:
            if stage not in uses:
                message = f"'uses' names the stage '{stage}', which 'stages' does not list"
                self.problems.append(document.problem(("uses", stage), message, did_you_mean(stage, uses)))
        if not uses and len(self.problems) == before:
            self.problems.append(document.problem((), "a target needs at least one stage", "list them under 'stages'"))
        return Target(name, document, uses) if len(self.problems) == before else None


def _stems(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.yaml") if not path.name.startswith(".")))
