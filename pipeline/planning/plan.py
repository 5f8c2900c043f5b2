"""The Plan: the resolved DAG as pure data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from recast.pipeline.core import address
from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import Problem, RecastError
from recast.pipeline.core.layout import RECIPES
from recast.pipeline.core.pins import with_own
from recast.pipeline.planning.installed_code import SeenFile
from recast.stages.base import ProjectCode, Stage
from recast.stages.common.spelling import did_you_mean, nearest
from recast.stages.registry import REGISTRY


@dataclass(frozen=True)
class PlannedStage:
    """One stage of the plan, owned by one recipe; other recipes may share it by reference."""

    recipe: str
    target: str | None
    name: str
    uses: str
    params: Mapping[str, Any]
    """the validated params as JSON values, every default filled in"""
    inputs: Mapping[str, str]
    """the name `run` reads an input by -> id of the stage that writes it"""
    tracked: tuple[tuple[str, str], ...]
    """(file, dotted key) of every YAML mapping that feeds the params, and of the digests of code that is installed"""
    code: tuple[str, ...]
    """what of the repository re-runs the stage when it changes: its modules, its model's, its pins, folders it reads"""
    files: Mapping[str, str]
    """param name -> file or folder of the repository it names"""
    stage: Stage[Any] = field(compare=False, repr=False)
    isolated: bool = False
    """whether its process is started from nothing rather than from a warm one; no part of its key"""
    digests: Mapping[str, str] = field(default_factory=dict)
    """dotted key in recast.lock -> the digest of what of its code, its pins and its values is installed"""
    plugins: tuple[str, ...] = ()
    """the installed packages that these are of"""
    installed: tuple[SeenFile, ...] = field(default=(), compare=False, repr=False)
    """the files that the digests are over"""
    project: ProjectCode = field(default_factory=ProjectCode, compare=False)
    """where the project's own code is imported from"""
    packages: str | None = None
    """the lock of what its model needs besides the packages of its environment"""
    labels: Mapping[str, float] = field(default_factory=dict)
    """what a worker must have besides cores, memory and GPUs, and how much of it"""

    @cached_property
    def address(self) -> Address:
        """Where it stands in the recipe that owns it."""
        return Address(self.recipe, self.target, self.name)

    @cached_property
    def id(self) -> str:
        """`recipe/stage` or `recipe/target/stage`, as users write it."""
        return str(self.address)

    @cached_property
    def dvc_name(self) -> str:
        """The stage's name in dvc.yaml."""
        return self.address.dvc_name

    @property
    def out(self) -> str:
        """The output directory, relative to the repository."""
        return self.address.out

    @property
    def environment(self) -> str:
        """The environment its process runs in: one of `envs/`, or such a one with packages of the project's own."""
        environment = REGISTRY[self.uses].environment
        return with_own(environment, self.packages) if self.packages else environment

    @property
    def follows_device(self) -> bool:
        """Whether the result depends on the device this machine is set to use."""
        return self.params.get("device") == "auto"


@dataclass(frozen=True)
class PlannedRecipe:
    """The stages that make up one recipe, its own and shared ones, by the names the recipe calls them."""

    name: str
    trunk: Mapping[str, str]
    """trunk stage -> id"""
    targets: Mapping[str, Mapping[str, str]]
    """target -> its stages -> id, in running order, private trunk stages included"""

    @property
    def ids(self) -> tuple[str, ...]:
        """Every stage id of the recipe, once."""
        branches = [id for stages in self.targets.values() for id in stages.values()]
        return tuple(dict.fromkeys([*self.trunk.values(), *branches]))


@dataclass(frozen=True)
class Plan:
    """The resolved DAG: `stages` by id in an order that runs, and the recipes made of them."""

    stages: Mapping[str, PlannedStage]
    recipes: Mapping[str, PlannedRecipe]
    broken: tuple[str, ...] = ()
    """recipes that are left out, since something is wrong with them, or with what they extend or use"""
    problems: tuple[Problem, ...] = ()
    """all that is wrong with what is left out"""

    def find(self, recipe: str, within: str) -> PlannedStage:
        """The stage a recipe calls `stage` or `target/stage`; RecastError if there is none."""
        found = self.locate(f"{recipe}/{within}")
        ids = self.ids(found)
        if found.stage is None:
            known = ", ".join(address.within(recipe, id) for id in ids)
            message = f"'{found}' is a {'target' if found.target else 'recipe'} and no stage"
            raise RecastError(message, f"it has: {known}")
        return self.stages[ids[0]]

    def locate(self, text: str) -> Address:
        """What RECIPE[/TARGET][/STAGE] means; RecastError if there is no such recipe, target or stage."""
        found = address.parse(text, {name: recipe.targets for name, recipe in self.recipes.items()})
        recipe = self._recipe(found.recipe)
        if found.target is not None and found.target not in recipe.targets:
            message = f"recipe '{recipe.name}' has no target '{found.target}'"
            raise RecastError(message, did_you_mean(found.target, recipe.targets))
        stages = recipe.trunk if found.target is None else recipe.targets[found.target]
        if found.stage is not None and found.stage not in stages:
            where = "the trunk" if found.target is None else f"target '{found.target}'"
            message = f"{where} of recipe '{recipe.name}' has no stage '{found.stage}'"
            meant = recipe.targets if found.target is None and nearest(found.stage, recipe.targets) else stages
            raise RecastError(message, did_you_mean(found.stage, meant))
        return found

    def locate_target(self, text: str) -> Address:
        """What RECIPE/TARGET means; RecastError if there is no such recipe or target, or if it means anything else."""
        recipe, within = address.split(text)
        targets = self._recipe(recipe).targets
        if within in targets:
            return Address(recipe, within)
        known = [str(Address(recipe, name)) for name in targets]
        wrong = f"recipe '{recipe}' has no target '{within}'" if within else f"'{recipe}' names no target"
        remedy = f"for example: {', '.join(known)}" if known else "give the recipe a target"
        if within and nearest(within, targets):
            remedy = did_you_mean(f"{recipe}/{within}", known)
        raise RecastError(wrong, remedy)

    def ids(self, what: Address) -> tuple[str, ...]:
        """Of all stages of a recipe, shared ones included; of a target's own; or of the one stage."""
        recipe = self.recipes[what.recipe]
        stages = recipe.trunk if what.target is None else recipe.targets[what.target]
        if what.stage is not None:
            return (stages[what.stage],)
        return recipe.ids if what.target is None else tuple(stages.values())

    def _recipe(self, name: str) -> PlannedRecipe:
        if name not in self.recipes:
            raise RecastError(f"no recipe named '{name}' in {RECIPES}/", did_you_mean(name, self.recipes))
        return self.recipes[name]


def reachable(ids: Iterable[str], following: Callable[[str], Iterable[str]]) -> frozenset[str]:
    """The ids themselves and all that `following` leads to from them."""
    found: set[str] = set()
    waiting = list(ids)
    while waiting:
        id = waiting.pop()
        if id not in found:
            found.add(id)
            waiting.extend(following(id))
    return frozenset(found)
