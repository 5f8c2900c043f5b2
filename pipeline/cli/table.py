"""The table people read at the end of a run: one a recipe, a row a target."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def columns(metric: str) -> tuple[str, ...]:
    """Headings between target and artifact; where nothing is measured by labels, the metric's columns hold dashes."""
    return (f"{metric or 'metric'}\nfloat", f"{metric or 'metric'}\nemitted", "agreement", "size", "time")


def show_table(console: Console, recipe: str, metric: str, rows: Sequence[Sequence[str]]) -> None:
    """Print the table that `results.result_table` gave.

    Where the console is too narrow for the artifacts' paths they follow the table, so that each can be copied.
    """
    table = _table(recipe, metric, rows, artifacts=True)
    console.print()
    wanted = console.measure(table, options=console.options.update_width(1000)).maximum
    if wanted <= console.width:
        console.print(table)
        return
    narrow = _table(recipe, metric, rows, artifacts=False)
    if console.measure(narrow, options=console.options.update_width(1000)).maximum <= console.width:
        console.print(narrow)
    else:
        _list(console, recipe, metric, rows)
    for row in rows:
        console.print(f"{row[0]}: {row[-1]}", soft_wrap=True, highlight=False)


def _list(console: Console, recipe: str, metric: str, rows: Sequence[Sequence[str]]) -> None:
    """The same, a line a figure, where a table would cut them."""
    console.print(f"{recipe}: what came out")
    for target, *figures in rows:
        console.print(f"  {target}", highlight=False)
        for column, figure in zip(columns(metric), figures, strict=False):
            console.print(f"    {column.replace(chr(10), ' ')}: {figure}", highlight=False)


def _table(recipe: str, metric: str, rows: Sequence[Sequence[str]], artifacts: bool) -> Table:
    table = Table(title=f"{recipe}: what came out", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("target", no_wrap=True)
    for column in columns(metric):
        table.add_column(column, justify="right", no_wrap=True)
    if artifacts:
        table.add_column("artifact", no_wrap=True)
    for row in rows:
        table.add_row(*(row if artifacts else row[:-1]))
    return table
