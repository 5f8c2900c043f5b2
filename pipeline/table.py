"""The table people read at the end of a run: one a recipe, a row a target."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def show_table(console: Console, recipe: str, rows: Sequence[Sequence[str]]) -> None:
    """Print the rows that `results.result_rows` gave.

    Where the console is too narrow for the artifacts' paths they follow the table, so that each can be copied.
    """
    table = _table(recipe, rows, artifacts=True)
    console.print()
    wanted = console.measure(table, options=console.options.update_width(1000)).maximum
    if wanted <= console.width:
        console.print(table)
        return
    console.print(_table(recipe, rows, artifacts=False))
    for row in rows:
        console.print(f"{row[0]}: {row[-1]}", soft_wrap=True, highlight=False)


def _table(recipe: str, rows: Sequence[Sequence[str]], artifacts: bool) -> Table:
    table = Table(title=f"{recipe}: what came out", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("target", no_wrap=True)
    for column in ("accuracy\nfloat", "accuracy\nemitted", "agreement", "size", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    if artifacts:
        table.add_column("artifact", no_wrap=True)
    for row in rows:
        table.add_row(*(row if artifacts else row[:-1]))
    return table
