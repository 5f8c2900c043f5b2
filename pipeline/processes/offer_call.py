"""What a target offers `recast repair`: asked of its module, in the environment that is named with it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import RecastError
from recast.pipeline.planning.plan import Plan
from recast.pipeline.processes import environments
from recast.pipeline.processes.plugin_code import import_path
from recast.pipeline.processes.tool_variables import tool_variables
from recast.stages.base import EVENT_MARK
from recast.stages.plugin import Entry
from recast.stages.providers import plugins
from recast.stages.registry import REPAIRS
from recast.stages.repair import Offer

_SECONDS = 300.0
"""after which the process is given up: it reads a graph and a report"""


def entry_of(plan: Plan, target: Address) -> Entry:
    """The module that the target, which the plan has, is asked by. RecastError if it offers nothing."""
    found = next((REPAIRS[uses] for uses in _uses(plan, target) if uses in REPAIRS), None)
    if found is None:
        known = sorted({name.partition(".")[0] for name in REPAIRS})
        message = f"target '{target.target}' of '{target.recipe}' offers nothing that could be tried"
        raise RecastError(message, f"targets that do: {', '.join(known)}")
    return found


def _uses(plan: Plan, target: Address) -> list[str]:
    return [plan.stages[id].uses for id in plan.ids(target)]


def ask(root: Path, plan: Plan, target: Address, say: Callable[[str], None]) -> Offer:
    """What can be tried from what the last run in `root` has made of the target.

    Raises RecastError for what the target refuses, and for a module that fails.
    """
    entry = entry_of(plan, target)
    planned = plan.recipes[target.recipe]
    ids = {**planned.trunk, **planned.targets[str(target.target)]}
    stages = {name: plan.stages[id] for name, id in ids.items()}
    job = {
        "module": entry.module,
        "directories": {name: str(root / one.out) for name, one in stages.items() if (root / one.out).is_dir()},
        "params": {name: one.params for name, one in stages.items()},
    }
    environment = environments.ensure(root, entry.environment, say)
    owners = [one.name for one in plugins() if entry in one.plugin.repairs.values()]
    done = subprocess.run(
        [str(environment.python), "-P", "-m", "recast.pipeline.processes.offer_process", json.dumps(job)],
        env={**os.environ, **tool_variables(root), "PYTHONPATH": import_path(root, owners)},
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        start_new_session=True,  # Ctrl-C is for the search, which looks at it afterwards
    )
    said = next((line for line in done.stdout.split("\n") if line.startswith(EVENT_MARK)), None)
    if done.returncode or said is None:
        last = (done.stderr.strip().splitlines() or ["without saying why"])[-1]
        raise RecastError(f"{entry.module} cannot say what to try for {target}: {last}", "report it with the model")
    found = json.loads(said.removeprefix(EVENT_MARK))
    if "error" in found:
        raise RecastError(f"{target}: {found['error']}", found["remedy"])
    return Offer.model_validate(found["offer"])
