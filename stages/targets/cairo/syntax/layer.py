"""Writes one layer's Cairo: functions that make one row of the output each, and the calls that make all of them.

A tensor is held as rows: structs of felts, behind boxes, so that reading an element is one step wherever it lies. Code
is written without loops, one row after the other; rows whose code is the same share a function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recast.stages.targets.cairo.ir.intervals import Interval
from recast.stages.targets.cairo.ir.view import View

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEIGHT_ROW = 32
"""felts in a row of weights that are passed as call data"""
WEIGHTS = "w"
"""the array of those rows"""
PADDING = -1
"""in the list of a row's elements: a cell that is no element"""


@dataclass
class Layer:
    """What is written of one layer: `functions` maps the text of a row function, but for its name, to that name."""

    name: str
    inputs: Mapping[str, View]
    """tensor -> where its elements lie"""
    bounds: Mapping[str, Interval]
    """tensor -> what its elements can be"""
    crate: str = ""
    """the layer's own crate, if it has weights"""
    activation: str = ""
    """"relu" if the layer applies that of the node behind it as well"""
    functions: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, tuple[tuple[str, int], ...]]] = field(default_factory=list)
    """(function, boxes it takes as (array, row)) in running order"""
    rows: list[list[int]] = field(default_factory=list)
    """elements of the output in each row that is made"""
    fixed_point: set[str] = field(default_factory=set)
    """functions of the fixed-point crate that are called"""
    constants: dict[int, str] = field(default_factory=dict)
    """value -> name, for `bias.cairo`"""
    slots_text: str = ""
    """how its sums are packed, for people"""
    call_data: bool = False
    """whether its weights come with the input, in rows of WEIGHT_ROW felts, not as literals"""
    weight_rows: list[list[int]] = field(default_factory=list)
    """those rows"""
    weight_places: dict[tuple[int, ...], int] = field(default_factory=dict)
    """felts of one sum -> the row where they begin"""
    products: int = 0
    """multiply-accumulates that are written out, counting packed ones once"""

    def place_weights(self, felts: Sequence[int]) -> int:
        """The row of the call data's weights where these felts begin; the same felts are passed once."""
        key = tuple(felts)
        if key not in self.weight_places:
            self.weight_places[key] = len(self.weight_rows)
            for start in range(0, len(key), WEIGHT_ROW):
                part = list(key[start : start + WEIGHT_ROW])
                self.weight_rows.append(part + [0] * (WEIGHT_ROW - len(part)))
        return self.weight_places[key]

    def row(self) -> Row:
        """Begin the code of one output row."""
        return Row(self)

    def constant(self, value: int) -> str:
        """An expression for a number: a constant of the layer's crate, or a literal if it has none."""
        return f"bias::{self.constants.setdefault(value, f'B{len(self.constants)}')}" if self.crate else hex(value)

    @property
    def width(self) -> int:
        """Cells of an output row: that of the longest."""
        return max(len(row) for row in self.rows)

    def output(self, array: str, size: int) -> View:
        """Where the elements of the output lie, if its rows are held in `array`."""
        return View.of_rows(array, self.width, self.rows, size)


class Row:
    """The code of one row: loads come from boxes, numbered as they are first used, so that equal code is equal text."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._boxes: dict[tuple[str, int], int] = {}
        self._widths: list[int] = []
        self._cells: list[set[int]] = []
        self._loaded: dict[tuple[str, int, int], str] = {}
        self._lines: list[str | int] = []
        """a number stands for the line that takes that box apart"""

    def load(self, tensor: str, element: int) -> str:
        """The name of a variable that holds an element of an input."""
        view = self._layer.inputs[tensor]
        array, row, column = view.place(element)
        key = (array, row, column)
        if key not in self._loaded:
            cell = self._cell((array, row), column, view.widths[array])
            self._loaded[key] = f"x{len(self._loaded)}"
            self.line(f"let {self._loaded[key]} = {cell};")
        return self._loaded[key]

    def weight(self, row: int, index: int) -> str:
        """An expression for the felt at `index` of the weights that begin at `row` of the call data's."""
        return self._cell((WEIGHTS, row + index // WEIGHT_ROW), index % WEIGHT_ROW, WEIGHT_ROW)

    def _cell(self, place: tuple[str, int], column: int, width: int) -> str:
        """An expression for a cell of the row at (array, row)."""
        box = self._boxes.setdefault(place, len(self._boxes))
        if box == len(self._widths):
            self._widths.append(width)
            self._cells.append(set())
            self._lines.append(box)
        self._cells[box].add(column)
        return f"*r{box}_{column}"

    def line(self, text: str) -> None:
        """Add one line of Cairo."""
        self._lines.append(text)

    def call(self, function: str, *arguments: str) -> str:
        """A call of a function of the fixed-point crate, as an expression."""
        self._layer.fixed_point.add(function)
        return f"{function}({', '.join(arguments)})"

    def finish(self, values: Sequence[str], elements: Sequence[int], width: int) -> None:
        """End the row: `values` are expressions for `elements` of the output; a shorter row is filled with zeros."""
        filled = [*values, *["0"] * (width - len(values))]
        cells = [f"c{index}: {value}" for index, value in enumerate(filled)]
        parameters = [f"b{box}: Box<@Row{size}>" for box, size in enumerate(self._widths)]
        head = f"({', '.join([*parameters, f'ref out: Array<Row{width}>'])}) {{"
        lines = [
            line if isinstance(line, str) else unboxed(line, self._widths[line], self._cells[line])
            for line in self._lines
        ]
        body = [*lines, f"out.append(Row{width} {{ {', '.join(cells)} }});"]
        text = "\n".join([head, *(f"    {line}" for line in body), "}"])
        name = self._layer.functions.setdefault(text, f"row{len(self._layer.functions)}")
        self._layer.calls.append((name, tuple(self._boxes)))
        self._layer.rows.append([*elements, *[PADDING] * (width - len(elements))])


def unboxed(box: int, width: int, used: Set[int]) -> str:
    """Take box number `box` apart once: its cells that are used are `r{box}_{cell}`.

    Reading `r.c5` of a row would take it apart each time, for the compiler into as many variables as it is wide.
    """
    cells = ", ".join(f"c{cell}: {f'r{box}_{cell}' if cell in used else '_'}" for cell in range(width))
    return f"let Row{width} {{ {cells} }} = b{box}.unbox();"


def row_elements(order: NDArray[np.int64], most: int) -> list[list[int]]:
    """Elements in rows of one length, at most `most` long; the last is filled by the writer."""
    flat = [int(element) for element in order.ravel()]
    count = -(-len(flat) // most)
    width = -(-len(flat) // count)
    return [flat[start : start + width] for start in range(0, len(flat), width)]
