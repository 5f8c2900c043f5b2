"""The packages that models need besides those Recast brings: what params.yaml and recipes ask for, and what is locked.

`requirements: {torch: [einops]}` asks; `recast env lock` finds the versions and writes them into a file in
`recipes/locks/`, which is committed, and which those stages depend on that import the model.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from recast.pipeline.core.errors import Problem, RecastError
from recast.pipeline.core.layout import PINS, launcher
from recast.pipeline.core.pins import LOCKS, pin_files, pinned
from recast.pipeline.recipes.document import Document, KeyPath
from recast.pipeline.recipes.value_words import shortened, shown
from recast.stages.common.spelling import did_you_mean
from recast.stages.registry import REGISTRY, load

if TYPE_CHECKING:
    from packaging.requirements import Requirement

REQUIREMENTS = "requirements"
MODEL_PACKAGES = "model_packages"

_ASKED = re.compile(r"^# requirement: (.+)$", re.MULTILINE)
_BESIDE = re.compile(r"^# beside: (\w+)$", re.MULTILINE)
_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)==[\w.!+-]+( ; .*)?")
_EXAMPLE = f"for example '{REQUIREMENTS}: {{torch: [einops, timm==1.0.22]}}'"


@dataclass(frozen=True)
class OwnPackages:
    """What one file asks for in one environment."""

    environment: str
    requirements: tuple[str, ...]
    """sorted, each written as packages' own tools write it"""
    owner: str | None
    """the recipe that asks; None for params.yaml, which asks for all that do not ask for themselves"""
    document: Document

    @property
    def lock(self) -> str:
        """The file, relative to the repository, that pins them and all they bring; below `LOCKS`."""
        return f"{LOCKS}/{self.environment}{f'.{self.owner}' if self.owner else ''}.txt"

    @property
    def where(self) -> KeyPath:
        """The place of what asks."""
        return REQUIREMENTS, self.environment

    def head(self, root: Path) -> str:
        """The lines a lock of them begins with: by these it is told whether it still is one."""
        asked = "".join(f"# requirement: {requirement}\n" for requirement in self.requirements)
        return f"{asked}# beside: {beside(root, self.environment)}\n"

    def problem(self, root: Path) -> Problem | None:
        """What is wrong with the lock; None if it is one of just these requirements, beside the pins that there are."""
        named = f"the requirements of '{self.environment}'"
        try:
            text = (root / self.lock).read_text(encoding="utf-8")
        except FileNotFoundError:
            return self._problem(root, f"{named} are not locked: there is no {self.lock}")
        except (OSError, ValueError) as error:
            return self._problem(root, f"{self.lock} cannot be read: {error}")
        if tuple(_ASKED.findall(text)) != self.requirements:
            return self._problem(root, f"{named} were edited since {self.lock} was written")
        if _BESIDE.findall(text) != [beside(root, self.environment)]:
            message = f"{self.lock} was written beside other packages of '{self.environment}' than there are now"
            return self._problem(root, message)
        there = {name_of(pin) for pin in pins_beside(root, self.environment)}
        for line in pinned(text):
            # nothing but a pin of what is added: no option of an installer's, nor another version of what is there
            if not is_pin(line) or name_of(line) in there:
                return self._problem(root, f"{self.lock} was edited by hand: '{shortened(line)}' may not stand there")
        return None

    def _problem(self, root: Path, message: str) -> Problem:
        return self.document.problem(self.where, message, f"run '{launcher(root)} env lock'")


def asked_in(document: Document, owner: str | None, problems: list[Problem]) -> dict[str, OwnPackages]:
    """environment -> what the file asks for there; problems for what is no requirement."""
    found: dict[str, OwnPackages] = {}
    if REQUIREMENTS not in document.values:
        return found
    for environment, said in document.section((REQUIREMENTS,), problems, _EXAMPLE).items():
        path, before = (REQUIREMENTS, environment), len(problems)
        if environment not in model_environments():
            message = f"no stage that imports a model runs in '{shortened(environment)}'"
            problems.append(document.problem(path, message, did_you_mean(environment, model_environments())))
            continue
        if not isinstance(said, list):
            message = f"the requirements of '{environment}' must be a list, not {shown(said)}"
            problems.append(document.problem(path, message, _EXAMPLE))
            continue
        asked: dict[str, str] = {}
        for number, text in enumerate(said):
            requirement, wrong = _requirement(text)
            if requirement is None:
                problems.append(document.problem((*path, number), *wrong))
                continue
            name = plain_name(requirement.name)
            if name in asked:
                message = f"'{requirement.name}' is asked for twice"
                problems.append(document.problem((*path, number), message, "write it once, with all it must satisfy"))
            asked[name] = str(requirement)
        if len(problems) == before:
            found[environment] = OwnPackages(environment, tuple(sorted(asked.values())), owner, document)
    return found


def _requirement(text: object) -> tuple[Requirement | None, tuple[str, str]]:
    """The requirement, or what is wrong and the remedy."""
    from packaging.requirements import InvalidRequirement, Requirement

    example = "for example 'timm==1.0.22' or 'einops>=0.8'"
    if not isinstance(text, str):
        return None, (f"a requirement is text, not {shown(text)}", example)
    try:
        found = Requirement(text)
    except InvalidRequirement:
        # an option of pip's, a path, a file of requirements
        return None, (f"'{shortened(text)}' is no requirement", f"write a package's name and versions, {example}")
    if found.url:
        return None, (f"'{shortened(text)}' names a place, which nothing pins", "name a version of an index")
    return found, ("", "")


def plain_name(name: str) -> str:
    """The one way to write the name of a package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def model_packages(document: Document, problems: list[Problem]) -> tuple[str, ...]:
    """The packages, or modules of them, that params.yaml lets recipes name models of."""
    said = document.values.get(MODEL_PACKAGES, [])
    if isinstance(said, list) and all(isinstance(name, str) and _is_dotted(name) for name in said):
        return tuple(said)
    message = f"'{MODEL_PACKAGES}' must be a list of packages, not {shown(said)}"
    problems.append(document.problem((MODEL_PACKAGES,), message, f"for example '{MODEL_PACKAGES}: [timm.models]'"))
    return ()


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() and not part.startswith("__") for part in name.split("."))


@cache
def model_environments() -> tuple[str, ...]:
    """The environments in which stages run that import the model of a recipe."""
    found = {entry.environment for name, entry in REGISTRY.items() if "model" in load(name).params.model_fields}
    return tuple(sorted(found))


def is_pin(line: str) -> bool:
    """Whether a line of a lock pins a package, and does nothing else."""
    return _PIN.fullmatch(line) is not None


def name_of(pin: str) -> str:
    """The package that is pinned."""
    return plain_name(pin.partition("==")[0])


def beside(root: Path, environment: str) -> str:
    """Stands for the packages of the environment itself."""
    return hashlib.sha256("\n".join(pins_beside(root, environment)).encode()).hexdigest()[:12]


def pins_beside(root: Path, environment: str) -> tuple[str, ...]:
    """The pins of the environment itself."""
    pins = pin_files(root).get(environment)
    if pins is None:
        raise RecastError(
            f"no environment named '{environment}' in {PINS}/", did_you_mean(environment, pin_files(root))
        )
    return tuple(pinned(pins.read_text(encoding="utf-8")))
