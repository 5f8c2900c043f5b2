"""Where the elements of a tensor lie among the rows that the emitted program holds.

Reshape, Flatten, Transpose and Concat only change this, and cost no steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class View:
    """Element e of the tensor is the cell `columns[e]` of row `rows[e]` of the array `arrays[sources[e]]`."""

    arrays: tuple[str, ...]
    widths: Mapping[str, int]
    """array -> cells of its rows"""
    sources: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    @classmethod
    def of_rows(cls, array: str, width: int, rows: Sequence[Sequence[int]], size: int) -> View:
        """Of one array whose rows hold these elements, -1 where a cell is none."""
        import numpy as np

        row_of, column_of = np.full(size, -1, np.int64), np.full(size, -1, np.int64)
        for row, elements in enumerate(rows):
            for column, element in enumerate(elements):
                if element >= 0:
                    row_of[element], column_of[element] = row, column
        return cls((array,), {array: width}, np.zeros(size, np.int64), row_of, column_of)

    def place(self, element: int) -> tuple[str, int, int]:
        """(array, row, column) of an element."""
        return self.arrays[self.sources[element]], int(self.rows[element]), int(self.columns[element])

    def taken(self, elements: NDArray[np.int64]) -> View:
        """The tensor made of these elements, in this order."""
        flat = elements.ravel()
        return View(self.arrays, self.widths, self.sources[flat], self.rows[flat], self.columns[flat])

    def row_lists(self) -> list[list[int]]:
        """The elements in the rows they lie in, row by row: code that follows it shares functions best."""
        import numpy as np

        order = np.lexsort((self.columns, self.rows, self.sources))
        lists: list[list[int]] = []
        last = None
        for element in order:
            place = (self.sources[element], self.rows[element])
            if place != last:
                lists.append([])
                last = place
            lists[-1].append(int(element))
        return lists


def joined(views: Sequence[View], order: NDArray[np.int64]) -> View:
    """Several tensors as one: `order` numbers their elements one after the other, in the order of the result."""
    import numpy as np

    arrays = tuple(dict.fromkeys(array for view in views for array in view.arrays))
    sources = [np.array([arrays.index(array) for array in view.arrays], np.int64)[view.sources] for view in views]
    whole = View(
        arrays,
        {array: view.widths[array] for view in views for array in view.arrays},
        np.concatenate(sources),
        np.concatenate([view.rows for view in views]),
        np.concatenate([view.columns for view in views]),
    )
    return whole.taken(order)
