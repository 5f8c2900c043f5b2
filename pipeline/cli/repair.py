"""What `recast repair` shows: a line for each candidate, the table of all, and the change to the recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from recast.pipeline.core.layout import RECIPES
from recast.pipeline.repair.candidate import Run
from recast.pipeline.repair.front import front
from recast.pipeline.repair.repairing import Repair
from recast.pipeline.repair.search import Candidate
from recast.stages.repair import Figure

AS_IT_IS = "the recipe as it is"


def line(number: int, candidate: Candidate) -> str:
    """A candidate, as soon as it is known what came of it."""
    run = candidate.run
    cached = ", from the cache" if run.was_cached else ""
    return f"candidate {number}, {name(run)}: {_verdict(candidate)} ({run.seconds:.1f} s{cached})"


def name(run: Run) -> str:
    """What is otherwise than in the recipe."""
    return "; ".join(run.says) or AS_IT_IS


def _verdict(candidate: Candidate) -> str:
    if candidate.run.refused:
        return candidate.run.refused
    return "; ".join(candidate.distance.missed) or "meets every limit"


def show(console: Console, made: Repair) -> None:
    """The table, what it comes to, and the diff."""
    tried = made.found.tried
    if tried:
        console.print()
        table = _table(made)
        if console.measure(table, options=console.options.update_width(1000)).maximum <= console.width:
            console.print(table)
        else:
            _list(console, made)
        if len(tried) > 1:
            console.print("* nothing that was tried is better in one of these and as good in all; latency, which only")
            console.print("  what ran here has, does not count.")
    console.print()
    for text in conclusion(made):
        console.print(text, soft_wrap=True, highlight=False, markup=False)
    if made.change:
        console.print()
        console.print(made.change.rstrip("\n"), soft_wrap=True, highlight=False, markup=False)


def conclusion(made: Repair) -> list[str]:
    """In words, what came of it."""
    found, chosen = made.found, made.found.chosen
    ended = {
        "": "",
        "interrupted": "Interrupted; what had been tried is kept. ",
        "budget": "The time is over; what had been tried is kept. ",
    }[made.stopped]
    if chosen is not None and not chosen.run.values:
        return [f"{ended}{made.target} meets its limits as it is: nothing is to be changed."]
    if chosen is not None:
        open_ends = "cheaper ones may not have been tried, and it was not verified with the recipe's own limits"
        less = f" It was stopped: {open_ends}." if made.stopped else ""
        return [f"{ended}{name(chosen.run)}: meets every limit of {made.target}.{less}"]
    if not found.tried:
        return [f"{ended}Nothing was tried to its end."]
    best = min(found.tried, key=lambda one: one.badness)
    nearest = f"nearest is {name(best.run)}: {_verdict(best)}."
    said = f"{ended}None of {len(found.tried)} candidates meets the limits of {made.target}; {nearest}"
    if obstacles := found.offer.obstacles:
        said += f" Most is lost at {', '.join(obstacles)}: see 'recast blame {made.target}'."
    return [said]


def as_json(made: Repair) -> str:
    """All of it, for tools."""
    tried = made.found.tried
    best = front(tried, made.found.offer)
    document = {
        "target": str(made.target),
        "limits": [one.model_dump(mode="json") for one in made.limits],
        "candidates": [
            {
                "says": list(one.run.says),
                "values": one.run.values,
                "meets": one.meets,
                "missed": list(one.distance.missed),
                "refused": one.run.refused or None,
                "metrics": one.run.metrics,
                "figures": {figure.title: _figure(one.run, figure) for figure in made.found.offer.figures},
                "size_bytes": one.run.size,
                "latency_seconds": one.run.latency,
                "cached": one.run.was_cached,
                "seconds": round(one.run.seconds, 2),
                "on_the_front": on_it,
            }
            for one, on_it in zip(tried, best, strict=True)
        ],
        "chosen": next((index for index, one in enumerate(tried) if one is made.found.chosen), None),
        "obstacles": list(made.found.offer.obstacles),
        "stopped": made.stopped or None,
        "change": made.change,
        "file": f"{RECIPES}/{made.target.recipe}.yaml",
        "seconds": round(made.seconds, 2),
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _columns(made: Repair) -> list[str]:
    metric = next((one.run.metrics.get("metric") for one in made.found.tried if one.run.metrics), None)
    figures = [figure.title for figure in made.found.offer.figures]
    return [metric or "metric", "agreement", "size", "latency", *figures, "limits"]


def _rows(made: Repair) -> list[tuple[str, ...]]:
    tried = made.found.tried
    marks = front(tried, made.found.offer)
    return [
        (f"{'*' if mark else ' '} {name(one.run)}", *_cells(one, made)) for one, mark in zip(tried, marks, strict=True)
    ]


def _cells(candidate: Candidate, made: Repair) -> tuple[str, ...]:
    run = candidate.run
    figures = made.found.offer.figures
    if run.refused:
        return (*("–" for _ in range(4 + len(figures))), "refused")
    metrics: Mapping[str, Any] = run.metrics
    metric = metrics.get(f"{metrics['metric']}_emitted") if metrics.get("metric") else None
    shown = "–" if metric is None else f"{100 * metric:.2f} %" if metrics.get("is_share") else f"{metric:.4g}"
    agreement = metrics.get("agreement")
    return (
        shown,
        "–" if agreement is None else f"{100 * agreement:.2f} %",
        "–" if run.size is None else f"{run.size / 1e6:.2f} MB" if run.size >= 1e6 else f"{run.size / 1e3:.1f} kB",
        "–" if run.latency is None else f"{1e3 * run.latency:.3g} ms",
        *(_figure(run, figure) for figure in figures),
        "met" if candidate.meets else "missed",
    )


def _figure(run: Run, figure: Figure) -> str:
    metrics = run.by_stage.get(figure.stage, {})
    if figure.metric not in metrics:
        return "–"
    return f"{metrics[figure.metric]}" + (f" of {metrics[figure.of]}" if figure.of in metrics else "")


def _table(made: Repair) -> Table:
    table = Table(title=f"{made.target}: what was tried", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("candidate", no_wrap=True)
    for column in _columns(made):
        table.add_column(column, justify="right", no_wrap=True)
    for row in _rows(made):
        table.add_row(*row)
    return table


def _list(console: Console, made: Repair) -> None:
    """The same, a line a figure, where a table would cut them."""
    console.print(f"{made.target}: what was tried", highlight=False)
    for candidate, *cells in _rows(made):
        console.print(f"  {candidate}", soft_wrap=True, highlight=False, markup=False)
        shown = ", ".join(f"{column} {cell}" for column, cell in zip(_columns(made), cells, strict=True))
        console.print(f"    {shown}", soft_wrap=True, highlight=False, markup=False)
