"""`recast sync`: brings what is generated from the recipes up to date, dvc.yaml and the schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import RecipeError
from recast.pipeline.core.layout import RECORD
from recast.pipeline.dvc import dvcfile, plugin_lock
from recast.pipeline.dvc.dvcfile_parts import DVCFILE
from recast.pipeline.dvc.lockfile import LOCK, read_lock, write_lock
from recast.pipeline.planning.plan import Plan
from recast.pipeline.planning.schema import SCHEMA, render_schema
from recast.pipeline.processes import environments
from recast.pipeline.recipes.plugin_record import read_record
from recast.stages.providers import plugins


def sync(root: Path, plan: Plan, say: Callable[[str], None]) -> None:
    """Bring what is generated from the recipes up to date: dvc.yaml, recast.lock if code is installed, the schema, and
    device.txt if nobody chose yet.

    What is generated from what the plan leaves out stays as it is. Raises RecipeError for a target that is broken.
    """
    environments.device(root)
    # before the schema, which describes what recipes use of plugins
    if plugin_lock.write(root, plan):
        say(f"wrote {RECORD}")
    try:
        if not schema_is_current(root):
            (root / SCHEMA).write_text(render_schema(root), encoding="utf-8")
            say(f"wrote {SCHEMA}")
    except RecipeError:
        if not plan.problems:
            raise
    if dvcfile.write(root, plan):
        say(f"wrote {DVCFILE}")
    forget_dropped_params(root, plan, say)


def forget_dropped_params(root: Path, plan: Plan, say: Callable[[str], None]) -> None:
    """Take those stages out of dvc.lock that were recorded with a param which no file holds any more.

    DVC compares the params that dvc.yaml lists, so it would call such a stage up to date: a mapping that was deleted
    from a recipe altogether would have no effect. Without an entry the stage is looked up in the run-cache, or runs.
    """
    recorded = read_lock(root / LOCK)["stages"]
    tracked = {stage.dvc_name: set(stage.tracked) for stage in plan.stages.values()}
    dropped = {
        name: keys
        for name, entry in recorded.items()
        if name in tracked and (keys := _recorded_params(entry) - tracked[name])
    }
    if not dropped:
        return
    from recast.pipeline.dvc.repository import Repository

    repository = Repository(root, say)
    try:
        with repository.locked():
            document = read_lock(root / LOCK)
            kept = {name: entry for name, entry in document["stages"].items() if name not in dropped}
            write_lock(root / LOCK, {**document, "stages": kept})
    finally:
        repository.close()
    for name, keys in sorted(dropped.items()):
        gone = ", ".join(f"{key} of {file}" for file, key in sorted(keys))
        say(f"{name} is no longer up to date: {gone} is gone")


def _recorded_params(entry: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(file, key) for file, values in entry.get("params", {}).items() for key in values}


def schema_is_current(root: Path) -> bool:
    """Whether recipes/schema.json is what the stages give. It passes where a recorded plugin is missing."""
    path = root / SCHEMA
    if not {plugin.name for plugin in plugins()}.issuperset(read_record(root).plugins):
        return path.exists()
    return path.exists() and path.read_text(encoding="utf-8") == render_schema(root)
