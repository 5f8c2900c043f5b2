"""From recipes to a plan of them.

Planning reads recipes and source files only: it imports no torch and looks at no artifact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

from recast.pipeline.core.errors import Problem
from recast.pipeline.planning.plan import Plan
from recast.pipeline.planning.resolve import Resolver


def make_plan(root: Path, names: Iterable[str] | None = None, drafts: Mapping[str, str] | None = None) -> Plan:
    """Plan the named recipes, or all of them; `drafts` are recipes that are not written yet, by name.

    Raises RecipeError with every problem of every file that was read, RecastError for an unknown name.
    """
    resolver = Resolver(root, drafts)
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
