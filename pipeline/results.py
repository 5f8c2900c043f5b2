"""What a recipe's stages measured, gathered: `summary.json`, and the rows of the table at the end of a run."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pipeline.dvcfile import METRICS, SUMMARY, gathered
from pipeline.errors import RecastError
from pipeline.layout import ARTIFACTS
from pipeline.plan import Plan, PlannedStage
from pipeline.stage_process import read_timings


def write_summary(root: Path, plan: Plan, recipe: str) -> Path:
    """Write `artifacts/<recipe>/summary.json`: the metrics of its final stages and what it emitted."""
    planned = plan.recipes[recipe]
    trunk, targets = {}, {}
    wanted = gathered(plan, recipe)
    for name, id in planned.trunk.items():
        if id in wanted:
            trunk[name] = _metrics(root, plan.stages[id])
    for target, stages in planned.targets.items():
        measured = {name: _metrics(root, plan.stages[id]) for name, id in stages.items() if id in wanted}
        targets[target] = {"artifact": _artifact(plan, stages), **measured}
    path = root / ARTIFACTS / recipe / SUMMARY
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"recipe": recipe, "trunk": trunk, "targets": targets}, indent=2, sort_keys=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(text + "\n", encoding="utf-8")
    fresh.replace(path)
    return path


def _metrics(root: Path, stage: PlannedStage) -> dict[str, Any]:
    path = root / stage.out / METRICS
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"cannot read the metrics of stage '{stage.id}': {error}"
        raise RecastError(message, f"run './recast run {stage.recipe}'") from error
    return metrics


def _artifact(plan: Plan, stages: Mapping[str, str]) -> str | None:
    emitting = [plan.stages[id] for id in stages.values() if plan.stages[id].stage.emits]
    return f"{emitting[-1].out}/{emitting[-1].stage.emits}" if emitting else None


def _shipped(root: Path, plan: Plan, stages: Mapping[str, str]) -> int | None:
    """Bytes of what the target hands on, as it lies on disk; None if the artifact is not there."""
    emitting = [plan.stages[id] for id in stages.values() if plan.stages[id].stage.emits]
    if not emitting or not (root / emitting[-1].out / str(emitting[-1].stage.emits)).is_file():
        return None
    folder, stage = root / emitting[-1].out, emitting[-1].stage
    found = {path for pattern in stage.ships or (stage.emits,) for path in folder.glob(str(pattern)) if path.is_file()}
    return sum(path.stat().st_size for path in found)


Rows = list[tuple[str, ...]]
"""target, accuracy float and emitted, agreement, size, time, artifact: text, as the table shows it"""


def result_rows(
    root: Path, plan: Plan, recipe: str, only: Collection[str] = (), unfinished: Collection[str] = ()
) -> Rows:
    """A row for each target of the recipe, or for these only; dashes for what its stages did not measure or finish."""
    rows = []
    for target, ids in plan.recipes[recipe].targets.items():
        if not only or target in only:
            stages = {name: plan.stages[id] for name, id in ids.items()}
            finished = "verify" in stages and ids["verify"] not in unfinished
            measured = _metrics(root, stages["verify"]) if finished else {}
            shares = [_percent(measured.get(key)) for key in ("accuracy_float", "accuracy_emitted", "agreement")]
            size = _size(_shipped(root, plan, ids) if finished else None)
            time = _time(root, list(stages.values())) if not any(id in unfinished for id in ids.values()) else "–"
            emitted = not any(id in unfinished for id in ids.values())  # what is not verified is no result
            rows.append((target, *shares, size, time, (_artifact(plan, ids) if emitted else None) or "–"))
    return rows


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
