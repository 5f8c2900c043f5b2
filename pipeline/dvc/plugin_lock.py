"""recast.lock: the digests of installed code, which DVC tracks as params of the stages that run with it.

What is installed is no file of the repository: without this DVC would call stages up to date after an upgrade.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import RECORD, STAGE_LAUNCHER
from recast.pipeline.core.whole_file import replaced
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.recipes.plugin_record import VERSION, Record, read_record
from recast.stages.providers import plugins

_HEADER = """\
# Written by `recast sync`: digests of the code that stages run with and that is installed, not in this repository, and
# the packages it is of. Commit it.
"""


def digests(stages: Iterable[PlannedStage]) -> dict[str, str]:
    """Dotted key -> digest, of all code these stages run with that is installed."""
    return {key: digest for stage in stages for key, digest in stage.digests.items()}


def is_current(root: Path, plan: Plan) -> bool:
    """Whether recast.lock is what `write` would make of it."""
    recorded = read_record(root)
    return _renewed(plan, recorded) == recorded


def write(root: Path, plan: Plan) -> str:
    """Bring recast.lock up to date for the plan of all recipes; what of the plan's code is now another than it said.

    What it says of code that only broken recipes may use stays as it is. Empty if the file is as it was.
    """
    recorded = read_record(root)
    fresh = _renewed(plan, recorded)
    if fresh == recorded:
        return ""
    said = _changes(plan, recorded) or "nothing that a stage runs with is another"
    if not fresh.digests:
        (root / RECORD).unlink()
        return said
    yaml = YAML()
    yaml.default_flow_style = False
    text = io.StringIO()
    yaml.dump(fresh.document(), text)
    with replaced(root / RECORD) as fresh_file:
        fresh_file.write_text(_HEADER + text.getvalue(), encoding="utf-8")
    return said


def _renewed(plan: Plan, recorded: Record) -> Record:
    now = digests(plan.stages.values())
    packages: dict[str, Mapping[str, Any]] = dict(recorded.plugins) if plan.broken else {}
    for plugin in plugins():
        # what Recast itself provides is told of no plugin that is missing
        provides = {} if plugin.is_ours else plugin.provides
        keys = {key for stage in plan.stages.values() if plugin.name in stage.plugins for key in stage.digests}
        if not keys:
            continue
        before = recorded.plugins.get(plugin.name, {})
        # the version is that of which the code was recorded: colleagues with another version of the same code agree
        is_same = all(recorded.digests.get(key) == now[key] for key in keys)
        version = before[VERSION] if is_same and VERSION in before else plugin.version
        packages[plugin.name] = {VERSION: version, **provides}
    return Record({**recorded.digests, **now} if plan.broken else now, packages)


def _changes(plan: Plan, recorded: Record) -> str:
    """The keys of the plan's digests that are other ones now."""
    changed = [key for key, digest in digests(plan.stages.values()).items() if recorded.digests.get(key) != digest]
    return ", ".join(sorted(changed))


def refuse_stale(root: Path, stages: Iterable[PlannedStage]) -> None:
    """RecastError unless recast.lock holds the digests of the code that these stages run with."""
    wanted = list(stages)
    recorded = read_record(root) if digests(wanted) else Record()
    versions = {plugin.name: plugin.version for plugin in plugins()}
    for stage in wanted:
        for key, digest in stage.digests.items():
            if recorded.digests.get(key) == digest:
                continue
            if key not in recorded.digests:
                raise RecastError(f"{RECORD} does not hold the code of '{stage.id}', which is installed ({key})", _SYNC)
            was = {name: str(recorded.plugins.get(name, {}).get(VERSION, "")) for name in stage.plugins}
            other = [f"{name} was {was[name]} and is {versions[name]}" for name in was if was[name] != versions[name]]
            how = f" ({', '.join(other)})" if other else f" (of {', '.join(stage.plugins)})"
            raise RecastError(f"the code of '{stage.id}' is another than when {RECORD} was written{how}", _SYNC)


_SYNC = f"run '{STAGE_LAUNCHER} sync', after which what has other code runs again, and then this command"
