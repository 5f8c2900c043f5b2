"""Which of a stage's remedies a recipe can follow: one that names a param it has not is no remedy there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache

from recast.pipeline.planning.plan import Plan, PlannedStage, reachable
from recast.stages.registry import REGISTRY, load, split

NAMED = re.compile(r"(?<![\w./])([a-z]+)\.([a-z_][a-z0-9_]*)")
"""a param as remedies name it: `export.opset`"""


def followable(remedies: Iterable[str], params: Mapping[str, Collection[str]]) -> str:
    """The remedies that name no param but those of `params` (stage -> its params), as one line."""
    return ", or ".join(remedy for remedy in remedies if not lacking(remedy, params))


def lacking(remedy: str, params: Mapping[str, Collection[str]]) -> list[str]:
    """The params that the remedy names and the recipe has not; a file called `export.py` is no param."""
    return [
        f"{stage}.{name}"
        for stage, name in NAMED.findall(remedy)
        if name not in params.get(stage, ()) and name in _known(stage)
    ]


def params_by_name(plan: Plan, stage: PlannedStage) -> dict[str, Collection[str]]:
    """Stage -> its params: all that the stage reads, directly or not, and those beside it in its trunk and target."""
    upstream = reachable([stage.id], lambda id: plan.stages[id].inputs.values() if id in plan.stages else ())
    found = [
        one
        for one in plan.stages.values()
        if one.id in upstream or (one.recipe == stage.recipe and one.target in (None, stage.target))
    ]
    # a target's private copy of a trunk stage counts for more than the trunk's
    found.sort(key=lambda one: one.target is not None)
    return {one.name: tuple(one.params) for one in found}


@cache
def _known(stage: str) -> frozenset[str]:
    """The params of every registered stage of that name, the trunk's and all targets'."""
    entries = [name for name in REGISTRY if split(name)[1] == stage]
    return frozenset(field for name in entries for field in load(name).params.model_fields)
