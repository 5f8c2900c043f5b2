"""What a recipe's stages measured, gathered: `summary.json`, and the table people read at the end of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline.dvcfile import METRICS, SUMMARY, gathered
from pipeline.errors import RecastError
from pipeline.plan import ARTIFACTS, Plan, PlannedStage
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


def show_results(console: Console, root: Path, plan: Plan, recipe: str, only: str | None = None) -> None:
    """Print the results of a recipe as a table, a row a target, or for one target only; what is not there is a dash.

    Where the console is too narrow for the artifacts' paths they follow the table, so that each can be copied.
    """
    rows = _rows(root, plan, recipe, only)
    table = _table(recipe, rows, artifacts=True)
    console.print()
    wanted = console.measure(table, options=console.options.update_width(1000)).maximum
    if wanted <= console.width:
        console.print(table)
        return
    console.print(_table(recipe, rows, artifacts=False))
    for row in rows:
        console.print(f"{row[0]}: {row[-1]}", soft_wrap=True, highlight=False)


def _table(recipe: str, rows: list[tuple[str, ...]], artifacts: bool) -> Table:
    table = Table(title=f"{recipe}: what came out", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("target", no_wrap=True)
    for column in ("accuracy\nfloat", "accuracy\nemitted", "agreement", "size", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    if artifacts:
        table.add_column("artifact", no_wrap=True)
    for row in rows:
        table.add_row(*(row if artifacts else row[:-1]))
    return table


def _rows(root: Path, plan: Plan, recipe: str, only: str | None) -> list[tuple[str, ...]]:
    """Target, accuracy float and emitted, agreement, size, time, artifact."""
    rows = []
    for target, ids in plan.recipes[recipe].targets.items():
        if only in (None, target):
            stages = {name: plan.stages[id] for name, id in ids.items()}
            measured = _metrics(root, stages["verify"]) if "verify" in stages else {}
            shares = [_percent(measured.get(key)) for key in ("accuracy_float", "accuracy_emitted", "agreement")]
            size, time = _size(measured.get("size_bytes")), _time(root, list(stages.values()))
            rows.append((target, *shares, size, time, _artifact(plan, ids) or "–"))
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
