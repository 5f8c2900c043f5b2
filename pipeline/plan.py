"""The Plan: the resolved DAG as pure data, and `make_plan`, which computes it from recipes.

Planning reads recipes and source files only: it imports no torch and looks at no artifact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import Problem, RecastError
from pipeline.layout import ARTIFACTS
from stages.base import Stage
from stages.registry import REGISTRY
from stages.spelling import did_you_mean

if TYPE_CHECKING:
    from pipeline.resolve import Resolver


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
    """(file, dotted key) of every YAML mapping that feeds the params"""
    code: tuple[str, ...]
    """repository files whose change re-runs the stage: its modules, its model's, its pins"""
    files: Mapping[str, str]
    """param name -> file or folder of the repository it names"""
    stage: Stage[Any] = field(compare=False, repr=False)
    isolated: bool = False
    """whether its process is started from nothing rather than from a warm one; no part of its key"""

    @property
    def id(self) -> str:
        """`recipe/stage` or `recipe/target/stage`, as users write it."""
        return "/".join(part for part in (self.recipe, self.target, self.name) if part)

    @property
    def address(self) -> str:
        """`stage` or `target/stage`: what its own recipe calls it."""
        return f"{self.target}/{self.name}" if self.target else self.name

    @property
    def dvc_name(self) -> str:
        """The stage's name in dvc.yaml, which allows letters, digits, - and _ only."""
        return self.id.replace("/", "-")

    @property
    def out(self) -> str:
        """The output directory, relative to the repository."""
        return f"{ARTIFACTS}/{self.id}"

    @property
    def environment(self) -> str:
        """The environment of `envs/` its process runs in."""
        return REGISTRY[self.uses].environment

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

    def find(self, recipe: str, address: str) -> PlannedStage:
        """The stage a recipe calls `stage` or `target/stage`; RecastError if there is none."""
        planned = self.recipes[recipe]
        target, slash, name = address.rpartition("/")
        if slash and target not in planned.targets:
            raise RecastError(f"recipe '{recipe}' has no target '{target}'", did_you_mean(target, planned.targets))
        stages = planned.targets[target] if slash else planned.trunk
        if name not in stages:
            where = f"target '{target}' of recipe '{recipe}'" if slash else f"the trunk of recipe '{recipe}'"
            raise RecastError(f"{where} has no stage '{name}'", did_you_mean(name, stages))
        return self.stages[stages[name]]


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


def make_plan(root: Path, names: Iterable[str] | None = None) -> Plan:
    """Plan the named recipes, or all of them.

    Raises RecipeError with every problem of every file that was read, RecastError for an unknown name.
    """
    from pipeline.resolve import Resolver  # it builds on this module's data

    resolver = Resolver(root)
    resolver.add_all() if names is None else resolver.add_named(names)
    resolver.recipes.refuse_problems()
    return plan_of(resolver)


def plan_of(resolver: Resolver, broken: tuple[str, ...] = (), problems: tuple[Problem, ...] = ()) -> Plan:
    """The plan of what the resolver gathered, without a problem."""
    # a trunk stage that every target has its own branch of is nobody's
    used = {id for recipe in resolver.planned.values() for id in recipe.ids}
    stages = {id: stage for id, stage in resolver.stages.items() if id in used}
    edges = {id: sorted(set(stage.inputs.values())) for id, stage in stages.items()}
    order = TopologicalSorter(edges).static_order()
    return Plan({id: stages[id] for id in order}, resolver.planned, broken, problems)
