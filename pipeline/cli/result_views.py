"""Results as people and tools read them: `recast show` and `recast compare`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from recast.pipeline.cli.run_text import one_line
from recast.pipeline.reporting.comparison import Comparison, Row
from recast.pipeline.reporting.facts import Drawing, RecipeFacts, TargetFacts

CURVES = "linear"
"""the template of tables that are drawn as lines"""
_CURVE_ROWS = 12
_TICKS = 8
_NARROWEST = 40
_FILES = 5


def as_json(recipes: Iterable[RecipeFacts]) -> str:
    """All that is known of each recipe's stages and targets."""
    found = [
        {
            **asdict(recipe),
            "targets": [{**asdict(target), "verified": target.is_verified} for target in recipe.targets],
        }
        for recipe in recipes
    ]
    return json.dumps({"recipes": found}, indent=2, ensure_ascii=False)


def show(console: Console, root: Path, recipe: RecipeFacts) -> None:
    """A table with a row a target, then what is to know of them, and on a terminal the curves of training."""
    console.print()
    _print(console, _results(recipe), recipe)
    for line in _notes(recipe):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if console.is_terminal and console.width >= _NARROWEST and _takes_blocks(console):
        for drawing in (each for stage in recipe.stages for each in stage.drawings if each.template == CURVES):
            for text in _curves(root / drawing.path, drawing, console.width):
                console.print()
                console.print(text, highlight=False, markup=False)


def _results(recipe: RecipeFacts) -> Table:
    table = Table(title=f"{recipe.name}: results", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    metric = next((target.metric for target in recipe.targets if target.metric), "metric")
    table.add_column("target", overflow="fold")
    table.add_column("state")
    for heading in (f"{metric}\nfloat", f"{metric}\nemitted", "agreement", "size", "latency\nmedian", "latency\n95 %"):
        table.add_column(heading, justify="right")
    table.add_column("float\nmedian", justify="right")
    for target in recipe.targets:
        shown = percent if target.is_share else number
        values = [target.metrics.get(f"{target.metric}_{of}") for of in ("float", "emitted")]
        timed = target.latency
        table.add_row(
            target.name,
            state_of(target),
            *(shown(value) for value in values),
            percent(target.metrics.get("agreement")),
            size(target.size),
            duration(timed.get("median")),
            duration(timed.get("p95")),
            duration((timed.get("float") or {}).get("median")),
        )
    return table


def _print(console: Console, table: Table, recipe: RecipeFacts) -> None:
    """The table; where the console is too narrow for it, a line a figure."""
    wanted = console.measure(table, options=console.options.update_width(1000)).maximum
    if wanted <= console.width:
        console.print(table)
        return
    console.print(f"{recipe.name}: results", highlight=False, markup=False)
    headings = [str(column.header).replace("\n", " ") for column in table.columns]
    for row in zip(*(column.cells for column in table.columns), strict=True):
        console.print(f"  {row[0]}: {row[1]}", highlight=False, markup=False)
        for heading, cell in zip(headings[2:], row[2:], strict=True):
            console.print(f"    {heading}: {cell}", highlight=False, markup=False)


def _notes(recipe: RecipeFacts) -> Iterator[str]:
    """What the table leaves out: how latency was measured, what failed and why, limits that are missed, and figures in
    the targets' own units."""
    said = {f"latency of {target.name}: {latency_said(target.latency)}" for target in recipe.targets if target.latency}
    yield from sorted(said)
    for target in recipe.targets:
        if target.metrics and not target.latency:
            yield f"latency of {target.name}: not measured on this machine; it is, when its last stage runs here"
        if target.error:
            yield f"{target.name} failed: {one_line(target.error)}"
        elif target.verifies and not target.is_verified and (reasons := recipe.stage(target.verifies).reasons):
            more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            yield f"{target.name}: {target.state}, because {one_line(reasons[0])}{more}"
        for limit in target.limits:
            if limit.met is False:
                yield f"{target.name}: {limit.name} is {limit.bound:g} and {limit.value:g} was measured"
    for target in recipe.targets:
        if target.figures:
            figures = ", ".join(f"{name} {one_line(_cell(value))}" for name, value in target.figures.items())
            yield f"{target.name} in its own units: {figures}"
    for target in recipe.targets:
        if target.artifact:
            yield f"{target.name}: {target.artifact}"


def latency_said(timed: Mapping[str, Any]) -> str:
    """How it was measured, as a phrase."""
    threads = timed.get("threads")
    return (
        f"one sample at a time, {timed.get('runs')} runs after {timed.get('warm_up')} to warm up, in turns with the "
        f"float model in onnxruntime; {threads} thread{'' if threads == 1 else 's'}, {timed.get('cpu')}"
    )


def state_of(target: TargetFacts) -> str:
    """What a target's state means for its results."""
    return "verified" if target.is_verified else str(target.state)


def _takes_blocks(console: Console) -> bool:
    return console.encoding.lower().replace("-", "") == "utf8" and not console.legacy_windows


def _curves(path: Path, drawing: Drawing, width: int) -> Iterator[str]:
    """Plots of the columns of a table over x: losses in one, each other column in its own, as their units differ."""
    import plotext

    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) < 2:
        return
    columns = [name for name in rows[0] if name != drawing.x]
    groups: dict[str, list[str]] = {}
    for name in columns:
        groups.setdefault(name.rpartition("_")[2], []).append(name)
    for unit, names in groups.items():
        plotext.clf()
        plotext.theme("clear")
        plotext.plot_size(min(width, 100), _CURVE_ROWS)
        places: list[float] = []
        for name, marker in zip(names, ("braille", "dot", "x", "star"), strict=False):
            points = [pair for row in rows if (pair := _point(row.get(drawing.x), row.get(name)))]
            if len(points) > 1:
                plotext.plot(*zip(*points, strict=True), label=name.replace("_", " "), marker=marker)
                places += [x for x, _ in points]
        if places:
            if all(x.is_integer() for x in places):  # there is no half epoch
                whole = sorted({int(x) for x in places})
                plotext.xticks(whole[:: max(1, len(whole) // _TICKS)])
            plotext.title(f"{unit} by {drawing.x}")
            yield plotext.uncolorize(plotext.build()).rstrip("\n")


def _point(x: str | None, y: str | None) -> tuple[float, float] | None:
    try:
        return float(x or ""), float(y or "")
    except ValueError:
        return None


def comparison(console: Console, found: Sequence[Comparison]) -> None:
    """Of each pair a table of what was measured, then what they were made with that differs."""
    for one in found:
        table = Table(
            title=f"{one.before.label} and {one.after.label}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
        )
        table.add_column("stage", overflow="fold")
        table.add_column("what", overflow="fold")
        for heading in (one.before.label, one.after.label, "change"):
            table.add_column(heading, justify="right", overflow="fold")
        before = ""
        for row in one.rows:
            table.add_row(row.stage if row.stage != before else "", row.name, *_compared(row))
            before = row.stage
        console.print()
        console.print(table)
        for side in (one.before, one.after):
            if side.stale:
                console.print(
                    f"{side.label}: not up to date, or not looked at: {', '.join(side.stale)}",
                    highlight=False,
                    markup=False,
                )
        head = "made with other values:" if one.differences else "made with the same values"
        console.print(head, highlight=False)
        for each in one.differences:
            console.print(f"  {one_line(str(each))}", highlight=False, markup=False, soft_wrap=True)
        if one.files:
            said = ", ".join(one.files[:_FILES]) + (
                f" and {len(one.files) - _FILES} more" if len(one.files) > _FILES else ""
            )
            console.print(f"made by other code, pins or data: {said}", highlight=False, markup=False, soft_wrap=True)


def _compared(row: Row) -> tuple[str, str, str]:
    change = row.change
    said = "" if change is None else "=" if change == 0 else f"{change:+.4g}"
    return _cell(row.before), _cell(row.after), said


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def number(value: float | None) -> str:
    """Four digits, or a dash."""
    return "–" if value is None else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A share of one in percent, or a dash."""
    return "–" if value is None else f"{100 * value:.2f} %"


def size(value: int | None) -> str:
    """Bytes in kB or MB of 1000, or a dash."""
    if value is None:
        return "–"
    return f"{value / 1e6:.2f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB"


def duration(seconds: float | None) -> str:
    """Seconds with three digits, in the unit that fits; a dash where nothing was measured."""
    if seconds is None:
        return "–"
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"
