"""What a run is asked for: recipes, targets or stages, and which stages of a plan that means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recast.pipeline.core import address
from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import RECIPES
from recast.pipeline.planning.plan import Plan, reachable
from recast.stages.common.spelling import did_you_mean


@dataclass(frozen=True)
class Request:
    """What the user asks for: recipes (all if none is named), and perhaps some targets or stages of them only."""

    recipes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()


def dvc_names(plan: Plan, request: Request) -> list[str]:
    """Names in dvc.yaml of what the request asks for. Raises RecastError for a name that there is not."""
    for name in request.recipes:
        if name not in plan.recipes:
            raise RecastError(f"no recipe named '{name}' in {RECIPES}/", did_you_mean(name, plan.recipes))
    recipes = tuple(dict.fromkeys(request.recipes)) or tuple(plan.recipes)
    if request.stages:
        targets = request.targets or (None,)
        pairs = [(target, stage) for stage in request.stages for target in targets]
        return _once(name for target, stage in pairs for name in _stages(plan, recipes, target, stage))
    if request.targets:
        return _once(name for target in request.targets for name in _target(plan, recipes, target))
    return list(recipes)


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _target(plan: Plan, recipes: Sequence[str], target: str) -> list[str]:
    found = []
    for name in recipes:
        stages = plan.recipes[name].targets.get(target)
        if stages:
            read = {source for id in stages.values() for source in plan.stages[id].inputs.values()}
            found += [plan.stages[id].dvc_name for id in stages.values() if id not in read]
    if not found:
        known = {known for name in recipes for known in plan.recipes[name].targets}
        raise RecastError(f"no target named '{target}' in {', '.join(recipes)}", did_you_mean(target, known))
    return found


def _stages(plan: Plan, recipes: Sequence[str], target: str | None, stage: str) -> list[str]:
    found, refusal = [], None
    for name in recipes:
        # as it is shown everywhere
        wanted = address.within(name, stage)
        if target is not None and "/" not in wanted:
            wanted = f"{target}/{wanted}"
        elif target is not None and not wanted.startswith(f"{target}/"):
            raise RecastError(f"'{stage}' is no stage of target '{target}'", "drop one of --target and --stage")
        try:
            found.append(plan.find(name, wanted).dvc_name)
        except RecastError as error:
            refusal = error
            # a trunk stage that the target shares with the others
            if target is not None and stage in plan.recipes[name].trunk:
                found.append(plan.find(name, stage).dvc_name)
    if not found and refusal:
        raise refusal
    return found


def needed(plan: Plan, recipes: Sequence[str], targets: Sequence[str]) -> Plan:
    """The part of the plan that the targets, names in dvc.yaml, need, shown as the recipes that were asked for."""
    ids = {stage.dvc_name: id for id, stage in plan.stages.items()}
    wanted = [id for name in targets for id in (plan.recipes[name].ids if name in plan.recipes else (ids[name],))]
    reached = reachable(wanted, lambda id: plan.stages[id].inputs.values())
    stages = {id: stage for id, stage in plan.stages.items() if id in reached}
    return Plan(stages, {name: recipe for name, recipe in plan.recipes.items() if not recipes or name in recipes})
