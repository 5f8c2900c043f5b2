"""A table of one's own, CSV or Parquet: a row a sample, or windows of rows as samples of a time series."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.base import StageError, note
from recast.stages.common.spelling import did_you_mean
from recast.stages.trunk.own_data import Columns, Window
from recast.stages.trunk.sources import SPLITS, Source

SUFFIXES = (".csv", ".tsv", ".parquet")
_SPLIT_NAMES = {"val": "validation", "valid": "validation", "dev": "validation", "training": "train", "testing": "test"}

Column = NDArray[Any]
"""(rows,), of text or of numbers"""


def read(path: Path, shown: str, columns: Columns, window: Window | None) -> Source:
    """Columns x -> float32 (N, features), or windows (N, features, length); y -> (N,) or (N, K).

    Labels of text are numbered in their sorted order. A window bears the label of its last row, and never spans two
    groups or splits. StageError for columns that are absent, and for cells that are empty or no numbers.
    """
    wanted = [*_listed(columns.x), *_listed(columns.y), *filter(None, (columns.split, columns.group))]
    table = columns_of(path, shown, wanted)
    x = np.stack([_numbers(table[name], name, shown) for name in _listed(columns.x)], axis=1)
    y, classes = _labels(table, columns, shown)
    split = split_of(table[columns.split], columns.split, shown) if columns.split else None
    groups = table[columns.group].astype(str) if columns.group else None
    if window is None:
        return Source(x, y, None, None, classes, split, groups)
    if groups is not None:  # a series is what one machine recorded, though rows of several may alternate
        order = np.argsort(groups, kind="stable")
        x, groups = x[order], groups[order]
        y, split = (None if one is None else one[order] for one in (y, split))
    taken = _windows(len(x), window, [one for one in (split, groups) if one is not None])
    if not len(taken):
        raise StageError(
            f"{shown} has no {window.length} rows that follow each other in one group",
            "lower data.window.length",
            "give longer series",
        )
    last = taken[:, -1]
    rest = len(x) - len(np.unique(taken))
    skipped = {"rows at the end of a series that fill no window": rest} if rest else {}
    if rest:
        note(f"{shown}: {rest} of {len(x)} rows are in no window of {window.length}")
    return Source(
        np.ascontiguousarray(x[taken].transpose(0, 2, 1)),
        None if y is None else y[last],
        None,
        None,
        classes,
        None if split is None else split[last],
        None if groups is None else groups[last],
        skipped=skipped,
    )


def columns_of(path: Path, shown: str, wanted: Sequence[str]) -> dict[str, Column]:
    """The columns of these names. StageError if the file, or one of them, is not there."""
    if not path.is_file():
        raise StageError(f"there is no file {shown}", "create it, or mend its path in data")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise StageError(f"{shown} is no table", f"give a file that ends in {', '.join(SUFFIXES)}")
    return _parquet(path, shown, wanted) if suffix == ".parquet" else _csv(path, shown, wanted, suffix)


def _parquet(path: Path, shown: str, wanted: Sequence[str]) -> dict[str, Column]:
    import pyarrow
    from pyarrow import parquet

    try:
        names = parquet.read_schema(path).names
        _refuse_absent(names, wanted, shown)
        table = parquet.read_table(path, columns=list(dict.fromkeys(wanted)), use_threads=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise StageError(f"{shown} is no Parquet file, or is damaged", "write it again") from error
    found = {}
    for name in dict.fromkeys(wanted):
        column = table[name]
        if column.null_count:
            raise StageError(
                f"{shown}: column '{name}' has {column.null_count} empty cells", "fill them, or drop the rows"
            )
        values = column.to_numpy()
        if values.dtype.kind not in "fiub":
            values = np.array([str(value) for value in column.to_pylist()])
        found[name] = values
    return found


def _csv(path: Path, shown: str, wanted: Sequence[str], suffix: str) -> dict[str, Column]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter="\t" if suffix == ".tsv" else ",", strict=True)
            names = next(rows, [])
            _refuse_absent(names, wanted, shown)
            places = {name: names.index(name) for name in wanted}
            cells: dict[str, list[str]] = {name: [] for name in places}
            for row in rows:
                if not row:
                    continue
                if len(row) != len(names):
                    raise StageError(
                        f"{shown}:{rows.line_num} has {len(row)} cells, and the first line {len(names)}",
                        "mend the line",
                    )
                for name, place in places.items():
                    cells[name].append(row[place])
    except (UnicodeDecodeError, csv.Error) as error:
        raise StageError(f"{shown} cannot be read: {error}", "save it as CSV in UTF-8") from error
    if not next(iter(cells.values()), []):
        raise StageError(f"{shown} has no rows", "give at least one below the names of the columns")
    return {name: np.array(values) for name, values in cells.items()}


def _refuse_absent(names: Sequence[str], wanted: Sequence[str], shown: str) -> None:
    for name in wanted:
        if name not in names:
            raise StageError(f"{shown} has no column '{name}'", did_you_mean(name, list(names)))
        if list(names).count(name) > 1:
            raise StageError(f"{shown} has two columns '{name}'", "give each a name of its own")


def _listed(names: str | list[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])


def _numbers(column: Column, name: str, shown: str) -> NDArray[np.float32]:
    """StageError, with the row, for a cell that is no finite number."""
    if column.dtype.kind in "iub":
        return column.astype(np.float32)
    if column.dtype.kind == "f":
        found = column.astype(np.float64)
    else:
        found = np.array([_number(cell) for cell in column.tolist()])
    finite = np.isfinite(found)
    if not finite.all():
        row = int(np.argmin(finite))
        cell = str(column[row])
        what = "empty" if not cell.strip() else f"'{cell[:40]}'"
        raise StageError(
            f"{shown}: column '{name}' is {what} in row {row + 1} and no number in {int((~finite).sum())} rows",
            "make finite numbers of them, or drop the rows",
            "leave the column out of data.columns.x",
        )
    return found.astype(np.float32)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _labels(table: dict[str, Column], columns: Columns, shown: str) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
    names = _listed(columns.y)
    if not names:
        return None, ()
    if len(names) > 1:
        values = np.stack([_numbers(table[name], name, shown) for name in names], axis=1)
        return (values.astype(np.int64) if (values == values.round()).all() else values), ()
    return labels_of(table[names[0]], names[0], shown)


def labels_of(column: Column, name: str, shown: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """(N,) numbers, and the names of the classes where the column holds text: its values, sorted."""
    if column.dtype.kind in "iub":
        return column.astype(np.int64), ()
    is_text = column.dtype.kind not in "f"
    if is_text and any(not cell.strip() for cell in column.tolist()):
        row = next(row for row, cell in enumerate(column.tolist()) if not cell.strip())
        raise StageError(f"{shown}: column '{name}' is empty in row {row + 1}", "give a label, or drop the row")
    if is_text and not np.isfinite([_number(cell) for cell in column.tolist()]).all():
        classes, numbers = np.unique(column, return_inverse=True)
        return numbers.astype(np.int64), tuple(str(one) for one in classes)
    values = _numbers(column, name, shown)
    return (values.astype(np.int64) if (values == values.round()).all() else values), ()


def split_of(column: Column, name: str, shown: str) -> Column:
    """The split of each sample by its usual names. StageError for another word."""
    words = [str(cell).strip().lower() for cell in column.tolist()]
    found = np.array([_SPLIT_NAMES.get(word, word) for word in words])
    strange = sorted(set(found.tolist()) - set(SPLITS))
    if strange:
        raise StageError(
            f"{shown}: column '{name}' holds '{strange[0]}', which is no split", f"write one of {', '.join(SPLITS)}"
        )
    return found


def _windows(rows: int, window: Window, boundaries: Sequence[Column]) -> NDArray[np.intp]:
    """(windows, length): rows of each, in the table's order, all of one series."""
    ends = [0, rows]
    for column in boundaries:
        ends += (np.flatnonzero(column[1:] != column[:-1]) + 1).tolist()
    bounds = sorted(set(ends))
    starts = [
        start
        for first, end in itertools.pairwise(bounds)
        for start in range(first, end - window.length + 1, window.step or window.length)
    ]
    return np.array(starts, np.intp).reshape(-1, 1) + np.arange(window.length)
