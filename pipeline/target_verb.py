"""How a verb of `stages.registry` is started: its process, and what it is told of the artifacts it reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import environments
from pipeline.errors import RecastError
from pipeline.plan import Plan, PlannedStage, make_plan
from pipeline.tool_variables import tool_variables
from stages.registry import PREDICTORS, VERBS, load_verb
from stages.spelling import did_you_mean, nearest

LOCAL = ".recast/local"
OWN = ("verb", "name", "what")
"""what the command line adds to a verb's own arguments"""


@dataclass(frozen=True)
class Call:
    """The program to become, as `os.execve` takes it."""

    program: str
    arguments: list[str]
    variables: dict[str, str]


def call(root: Path, name: str, options: Mapping[str, Any], say: Callable[[str], None]) -> Call:
    """The process of the verb, in its environment, which is built if need be.

    Raises RecastError for an unknown recipe or target, a result that is not there, and an environment that
    cannot be built.
    """
    verb, entry = load_verb(name), VERBS[name]
    artifacts = _artifacts(root, options["what"], verb.reads, say) if verb.reads else None
    environment = environments.ensure(root, entry.environment, say)
    job = {
        "root": str(root),
        "module": entry.module,
        "options": {key: value for key, value in options.items() if key not in OWN},
        "artifacts": artifacts,
    }
    arguments = [str(environment.python), "-m", "pipeline.verb_process", json.dumps(job)]
    return Call(arguments[0], arguments, {**os.environ, **tool_variables(root), "PYTHONPATH": str(root)})


def _artifacts(root: Path, what: str, reads: tuple[str, ...], say: Callable[[str], None]) -> dict[str, Any]:
    recipe, slash, target = what.partition("/")
    stages = _stages(make_plan(root, [recipe]), recipe, target if slash else "")
    for name in reads:
        if name not in stages:
            raise RecastError(f"target '{target}' has no stage '{name}'", f"it has: {', '.join(stages)}")
        if not (root / stages[name].out).is_dir():
            raise RecastError(
                f"{stages[name].id} has made nothing yet", f"run './recast run {recipe} --target {target}' first"
            )
    return {
        "recipe": recipe,
        "target": target,
        "directories": {name: str(root / stage.out) for name, stage in stages.items() if (root / stage.out).is_dir()},
        "params": {name: stage.params for name, stage in stages.items()},
        "local": str(root / LOCAL),
        "predictor": _predictor(root, stages, say),
    }


def _stages(plan: Plan, recipe: str, target: str) -> dict[str, PlannedStage]:
    """The stages of the target, and those of the trunk it stands on, by the names the recipe calls them."""
    planned = plan.recipes[recipe]
    if target not in planned.targets:
        known = [f"{recipe}/{name}" for name in planned.targets]
        wrong = f"recipe '{recipe}' has no target '{target}'" if target else f"'{recipe}' names no target"
        remedy = f"for example: {', '.join(known)}" if known else "give the recipe a target"
        if target and nearest(target, planned.targets):
            remedy = did_you_mean(f"{recipe}/{target}", known)
        raise RecastError(wrong, remedy)
    return {name: plan.stages[id] for name, id in {**planned.trunk, **planned.targets[target]}.items()}


def _predictor(root: Path, stages: Mapping[str, PlannedStage], say: Callable[[str], None]) -> dict[str, str] | None:
    entry = PREDICTORS.get(stages["emit"].uses) if "emit" in stages else None
    if entry is None:
        return None
    return {"python": str(environments.ensure(root, entry.environment, say).python), "module": entry.module}
