"""Samples that need not fit in memory: they lie in a file of the stage's own, which the system pages in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.base import StageError, progress
from recast.stages.common import npz_files


class Rows:
    """Some samples of an array (N, ...), in an order of their own, which are read where they are asked for."""

    def __init__(self, of: Any, rows: NDArray[np.intp]) -> None:
        self._of, self._rows = of, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        rows = self._rows[index]
        found: NDArray[Any] = npz_files.pick(self._of, rows) if isinstance(rows, np.ndarray) else self._of[rows]
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's."""
        return len(self._rows), *self._of.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """As an array's."""
        found: np.dtype[Any] = self._of.dtype
        return found

    @property
    def nbytes(self) -> int:
        """As an array's."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


class Pile:
    """Arrays of one dtype and any shape, put down one after the other."""

    def __init__(self, file: Path, dtype: Any) -> None:
        self._file, self._dtype = file, np.dtype(dtype)
        self._opened = file.open("wb+")
        self._places: list[tuple[int, tuple[int, ...]]] = []

    def append(self, array: NDArray[Any]) -> None:
        """Put it down."""
        self._places.append((self._opened.seek(0, 2), array.shape))
        self._opened.write(np.ascontiguousarray(array, self._dtype).data)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the arrays."""
        return [shape for _, shape in self._places]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> NDArray[Any]:
        offset, shape = self._places[number]
        self._opened.seek(offset)
        content = self._opened.read(int(np.prod(shape)) * self._dtype.itemsize)
        return np.frombuffer(content, self._dtype).reshape(shape)

    def close(self) -> None:
        """Take the file away."""
        self._opened.close()
        self._file.unlink()


def stacked(count: int, of: Callable[[int], NDArray[Any]], file: Path, what: str) -> NDArray[Any]:
    """Samples (count, ...), each asked for once, in order. StageError, which calls them `what`, unless all are alike.

    Few enough to be held at once lie in memory.
    """
    found: NDArray[Any] | None = None
    for number in range(count):
        if number % 100 == 0:
            progress(f"reading {what}", number, count)
        one = np.asarray(of(number))
        if found is None:
            found = _room((count, *one.shape), one.dtype, file)
        elif one.shape != found.shape[1:] or one.dtype != found.dtype:
            raise StageError(
                f"{what}: sample {number} is {one.dtype} of shape {one.shape}, the first {found.dtype} of "
                f"{found.shape[1:]}",
                "make them alike",
            )
        found[number] = one
    if found is None:
        raise StageError(f"{what} holds no samples", "give some")
    return found


def _room(shape: tuple[int, ...], dtype: np.dtype[Any], file: Path) -> NDArray[Any]:
    if int(np.prod(shape)) * dtype.itemsize <= npz_files.CHUNK:
        return np.empty(shape, dtype)
    return np.asarray(np.lib.format.open_memmap(file, "w+", dtype, shape))


def changed(x: NDArray[Any], change: Callable[[NDArray[Any]], NDArray[Any]], file: Path) -> NDArray[Any]:
    """What `change` makes of samples (N, ...), a few at a time; it may give them another shape."""
    first = change(x[:1])
    found = _room((len(x), *first.shape[1:]), first.dtype, file)
    for part in parts(x):
        found[part] = change(x[part])
    return found


def parts(x: NDArray[Any] | Rows) -> Iterator[slice]:
    """Of samples (N, ...) those that are held at once."""
    return npz_files.slices(len(x), max(1, x.nbytes // max(1, len(x))))
