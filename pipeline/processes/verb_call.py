"""How a verb of `recast.stages.registry` is started: its process, and what it is told of the artifacts it reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recast.pipeline.core.address import Address, recipe_of
from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import LOCAL
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.processes import environments
from recast.pipeline.processes.plugin_code import import_path
from recast.pipeline.processes.tool_variables import tool_variables
from recast.stages.providers import plugins
from recast.stages.registry import PREDICTORS, VERBS, load_verb, split

OWN = ("verb", "name", "what")
"""what the command line adds to a verb's own arguments"""


@dataclass(frozen=True)
class Call:
    """The program to become, as `os.execve` takes it."""

    program: str
    arguments: list[str]
    variables: dict[str, str]


def call(
    root: Path,
    name: str,
    options: Mapping[str, Any],
    say: Callable[[str], None],
    released: Mapping[str, Any] | None = None,
) -> Call:
    """The process of the verb, in its environment, which is built if need be.

    `released`: the artifacts of a release that the user named instead of a target, as `released_artifacts` gives them.
    Raises RecastError for an unknown recipe or target, a result that is not there, and an environment that
    cannot be built.
    """
    verb, entry = load_verb(name), VERBS[name]
    artifacts: Mapping[str, Any] | None = None
    if verb.reads:
        several = verb.several and "/" not in options["what"].strip("/")
        artifacts = released or (_every if several else artifacts_of)(root, options["what"], verb.reads, say)
    environment = environments.ensure(root, entry.environment, say)
    job = {
        "root": str(root),
        "module": entry.module,
        "options": {key: value for key, value in options.items() if key not in OWN},
        "artifacts": artifacts,
    }
    given = [artifacts, *artifacts.get("beside", ())] if artifacts else []
    predictors = {one["predictor"]["module"] for one in given if one["predictor"]}
    arguments = [str(environment.python), "-P", "-m", "recast.pipeline.processes.verb_process", json.dumps(job)]
    return Call(
        arguments[0],
        arguments,
        {**os.environ, **tool_variables(root), "PYTHONPATH": python_path(root, name, predictors)},
    )


def python_path(root: Path, verb: str, predictors: Collection[str]) -> str:
    """Where Recast is imported from, and the plugins that have the verb or one of these modules of predictors."""
    owners = [
        plugin.name
        for plugin in plugins()
        if verb in plugin.plugin.verbs
        or not {one.module for one in plugin.plugin.predictors.values()}.isdisjoint(predictors)
    ]
    return import_path(root, owners)


def released_artifacts(
    root: Path, emitted: Path, manifest: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """What a verb is told of a release: its emitted folder, and what its manifest says of its stages."""
    target = manifest["target"]
    stages = {id.removeprefix(f"{manifest['recipe']}/"): stage for id, stage in manifest["stages"].items()}
    return {
        "recipe": manifest["recipe"],
        "target": target,
        "directories": {split(manifest["emitted_by"])[1]: str(emitted)},
        "params": {name.removeprefix(f"{target}/"): stage["params"] for name, stage in stages.items()},
        "local": str(root / LOCAL),
        "predictor": _predictor(root, {manifest["emitted_by"]: emitted}, say),
    }


def _every(root: Path, recipe: str, reads: tuple[str, ...], say: Callable[[str], None]) -> dict[str, Any]:
    """Of all targets of the recipe that have a predictor and have been made, the first with the others beside it."""
    plan = make_plan(root, [recipe_of(recipe)])
    name = plan.locate(recipe).recipe
    found = []
    for target in plan.recipes[name].targets:
        stages = _stages(plan, Address(name, target))
        is_made = all(read in stages and (root / stages[read].out).is_dir() for read in reads)
        if is_made and any(stage.uses in PREDICTORS for stage in stages.values()):
            found.append(artifacts_of(root, f"{name}/{target}", reads, say))
    if not found:
        remedy = f"run '{Address(name).run_command(root)}' first"
        raise RecastError(f"no target of '{name}' that can be served has been made", remedy)
    return {**found[0], "beside": found[1:]}


def artifacts_of(root: Path, what: str, reads: tuple[str, ...], say: Callable[[str], None]) -> dict[str, Any]:
    """What a verb is told of RECIPE/TARGET, as JSON. RecastError if there is none, or one of `reads` was not made."""
    plan = make_plan(root, [recipe_of(what)])
    address = plan.locate_target(what)
    stages = _stages(plan, address)
    for name in reads:
        if name not in stages:
            raise RecastError(f"target '{address.target}' has no stage '{name}'", f"it has: {', '.join(stages)}")
        if not (root / stages[name].out).is_dir():
            raise RecastError(f"{stages[name].id} has made nothing yet", f"run '{address.run_command(root)}' first")
    return {
        "recipe": address.recipe,
        "target": address.target,
        "directories": {name: str(root / stage.out) for name, stage in stages.items() if (root / stage.out).is_dir()},
        "params": {name: stage.params for name, stage in stages.items()},
        "local": str(root / LOCAL),
        "predictor": _predictor(root, {stage.uses: root / stage.out for stage in stages.values()}, say),
    }


def _stages(plan: Plan, address: Address) -> dict[str, PlannedStage]:
    """The stages of the target, and those of the trunk it stands on, by the names the recipe calls them."""
    planned = plan.recipes[address.recipe]
    target = planned.targets[address.target] if address.target else {}
    return {name: plan.stages[id] for name, id in {**planned.trunk, **target}.items()}


def _predictor(root: Path, outs: Mapping[str, Path], say: Callable[[str], None]) -> dict[str, str] | None:
    """What answers for the emitted model, and the folder that this lies in; `outs`: registered stage -> its output."""
    uses = next((stage for stage in outs if stage in PREDICTORS), None)
    if uses is None:
        return None
    entry = PREDICTORS[uses]
    python = environments.ensure(root, entry.environment, say).python
    return {"python": str(python), "module": entry.module, "emitted": str(outs[uses])}
