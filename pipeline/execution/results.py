"""What a recipe's stages measured, gathered: `summary.json`, and the table at the end of a run."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import METRICS
from recast.pipeline.core.whole_file import replaced
from recast.pipeline.dvc.dvcfile import gathered, summary_path
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.processes.stage_call import read_timings


def write_summary(root: Path, plan: Plan, recipe: str) -> Path:
    """Write `artifacts/<recipe>/summary.json`: the metrics of its final stages and what it emitted."""
    planned = plan.recipes[recipe]
    trunk, targets = {}, {}
    wanted = gathered(plan, recipe)
    for name, id in planned.trunk.items():
        if id in wanted:
            trunk[name] = metrics_of(root, plan.stages[id])
    for target, stages in planned.targets.items():
        measured = {name: metrics_of(root, plan.stages[id]) for name, id in stages.items() if id in wanted}
        targets[target] = {"artifact": _artifact(plan, stages), **measured}
    path = root / summary_path(recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"recipe": recipe, "trunk": trunk, "targets": targets}, indent=2, sort_keys=True)
    with replaced(path) as fresh:
        fresh.write_text(text + "\n", encoding="utf-8")
    return path


def metrics_of(root: Path, stage: PlannedStage) -> dict[str, Any]:
    """What the stage measured; RecastError if it has not run."""
    path = root / stage.out / METRICS
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"cannot read the metrics of stage '{stage.id}': {error}"
        raise RecastError(message, f"run '{Address(stage.recipe).run_command(root)}'") from error
    return metrics


def _artifact(plan: Plan, stages: Mapping[str, str]) -> str | None:
    emitting = [plan.stages[id] for id in stages.values() if plan.stages[id].stage.emits]
    return f"{emitting[-1].out}/{emitting[-1].stage.emits}" if emitting else None


def shipped_size(root: Path, plan: Plan, stages: Mapping[str, str]) -> int | None:
    """Bytes of what the target hands on, as it lies on disk; None if the artifact is not there."""
    emitting = [plan.stages[id] for id in stages.values() if plan.stages[id].stage.emits]
    if not emitting or not (root / emitting[-1].out / str(emitting[-1].stage.emits)).is_file():
        return None
    folder, stage = root / emitting[-1].out, emitting[-1].stage
    found = {path for pattern in stage.ships or (stage.emits,) for path in folder.glob(str(pattern)) if path.is_file()}
    return sum(path.stat().st_size for path in found)


class Results(NamedTuple):
    """What came out of a recipe, as the table shows it."""

    metric: str
    """of the float model and of the emitted one; empty if nothing is measured by labels"""
    rows: tuple[tuple[str, ...], ...]
    """target, metric of the float model and of the emitted one, agreement, size, time, artifact: text"""


def result_table(
    root: Path, plan: Plan, recipe: str, only: Collection[str] = (), unfinished: Collection[str] = ()
) -> Results:
    """A row for each target of the recipe, or for these only; dashes for what its stages did not measure or finish."""
    rows, metrics = [], []
    for target, ids in plan.recipes[recipe].targets.items():
        if not only or target in only:
            stages = [plan.stages[id] for id in ids.values()]
            verified = next((stage for stage in stages if stage.stage.reports and stage.id not in unfinished), None)
            measured = metrics_of(root, verified) if verified else {}
            metric, shown = measured.get("metric"), _percent if measured.get("is_share") else _number
            metrics += [metric] if metric else []
            figures = [shown(measured.get(f"{metric}_{of}")) for of in ("float", "emitted")]
            size = _size(shipped_size(root, plan, ids) if verified else None)
            time = _time(root, stages) if not any(id in unfinished for id in ids.values()) else "–"
            emitted = not any(id in unfinished for id in ids.values())  # what is not verified is no result
            artifact = (_artifact(plan, ids) if emitted else None) or "–"
            rows.append((target, *figures, _percent(measured.get("agreement")), size, time, artifact))
    # one recipe has one task
    return Results(metrics[0] if metrics else "", tuple(rows))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _size(value: int | None) -> str:
    if value is None:
        return "–"
    return f"{value / 1e6:.2f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB"


def _time(root: Path, stages: list[PlannedStage]) -> str:
    """Seconds the target's own stages took when they last ran on this machine; a dash if one never did."""
    seconds = [read_timings(root, stage).get("seconds") for stage in stages]
    known = [value for value in seconds if value is not None]
    return f"{sum(known):.1f} s" if known and len(known) == len(seconds) else "–"
