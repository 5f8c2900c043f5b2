"""Whether what is generated from the recipes matches them, for a verb that trusts it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from recast.pipeline.core.errors import RecastError
from recast.pipeline.dvc import dvcfile, plugin_lock
from recast.pipeline.planning.plan import Plan, PlannedStage


def refuse_stale(root: Path, everything: Plan, stages: Iterable[PlannedStage], otherwise: str = "") -> None:
    """RecastError unless dvc.yaml matches the plan of all recipes, and recast.lock what these stages run with."""
    plugin_lock.refuse_stale(root, stages)
    if not dvcfile.is_current(root, everything):
        message = "dvc.yaml does not match the recipes, so what would run is unknown"
        raise RecastError(message, ", ".join(filter(None, [dvcfile.sync_remedy(everything), otherwise])))
