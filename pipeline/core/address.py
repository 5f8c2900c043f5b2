"""The address RECIPE[/TARGET][/STAGE] of what recipes have, and what it is called in dvc.yaml and on disk.

A plain name holds neither `/` nor `-`, so an id can be taken apart again, and so can its name in dvc.yaml, which allows
letters, digits, - and _ only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from recast.pipeline.core.layout import ARTIFACTS, STAGE_LAUNCHER, launcher

FORM = "RECIPE[/TARGET][/STAGE]"
TARGET_FORM = "RECIPE/TARGET"
WITHIN_FORM = "[TARGET/]STAGE"
"""how help and refusals write an address, one of a target, and that of a stage within its recipe"""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def is_name(name: object) -> bool:
    """Whether a name is plain: it can be a part of an address, and become neither a path nor a shell word."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Address:
    """A recipe; or one of its targets; or a stage, of the target or, where none is named, of the trunk."""

    recipe: str
    target: str | None = None
    stage: str | None = None

    def __str__(self) -> str:
        """As users write it; of a stage, its id."""
        return f"{self.recipe}/{self.within}" if self.within else self.recipe

    @property
    def within(self) -> str:
        """`[TARGET][/STAGE]`: what its own recipe calls it; empty for the recipe itself."""
        return "/".join(name for name in (self.target, self.stage) if name is not None)

    @property
    def dvc_name(self) -> str:
        """What it is called in dvc.yaml, and in names of files about it."""
        return str(self).replace("/", "-")

    @property
    def out(self) -> str:
        """Where it is written to, relative to the repository."""
        return f"{ARTIFACTS}/{self}"

    @property
    def stage_command(self) -> str:
        """What dvc.yaml has DVC run for it."""
        return " ".join((STAGE_LAUNCHER, "stage", self.recipe, *([self.within] if self.within else ())))

    def run_command(self, root: Path) -> str:
        """What a user is told to run there for the recipe or the target."""
        return f"{launcher(root)} run {self.recipe}" + (f" --target {self.target}" if self.target else "")


def split(text: str) -> tuple[str, str]:
    """The recipe's name at the head of an address or id, and the rest, `[TARGET][/STAGE]`."""
    recipe, _, within = text.strip("/").partition("/")
    return recipe, within


def recipe_of(text: str) -> str:
    """The recipe's name at the head of an address or id, whether there is such a recipe or not."""
    return split(text)[0]


def parse(text: str, targets: Mapping[str, Collection[str]]) -> Address:
    """What is meant by RECIPE[/TARGET][/STAGE]. Whether there is such a stage is for the plan to say.

    `targets`: recipe -> those it has, since only they tell RECIPE/TARGET from RECIPE/STAGE.
    """
    recipe, within = split(text)
    if not within or within in targets.get(recipe, ()):
        return Address(recipe, within or None)
    target, slash, stage = within.partition("/")
    return Address(recipe, target, stage) if slash else Address(recipe, None, within)


def within(recipe: str, text: str) -> str:
    """An id without the name of this recipe before it; another recipe's keeps its own."""
    return text.removeprefix(f"{recipe}/")


def recipe_of_dvc_name(name: str) -> str:
    """The recipe that what is called so in dvc.yaml belongs to."""
    return name.partition("-")[0]


def recipe_of_output(path: str) -> str:
    """The recipe that a path below an `Address.out` belongs to."""
    return recipe_of(path.removeprefix(f"{ARTIFACTS}/"))
