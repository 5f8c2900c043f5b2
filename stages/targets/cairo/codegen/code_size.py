"""Estimates how many felts the emitted Cairo compiles to, with Cairo 2.1's figures."""

from __future__ import annotations

from collections.abc import Sequence

from recast.stages.targets.cairo.codegen import calls_text
from recast.stages.targets.cairo.codegen.crate_text import MOST_IN_PLACE
from recast.stages.targets.cairo.syntax.layer import Layer

PRODUCT, LOAD, SPLIT, SHARED, COMPARISON, CALL, NEXT, NUMBERED, INPUT, OTHER = 3, 1, 36, 28, 50, 8, 8, 5, 120, 12
"""felts of a product with its addition, a load, a sum's share of a split, a split that is called, a comparison, a call,
a row that is taken out of its array as the next or by its number, a cell of an input row, any other line"""
BASE = 3000
"""felts of what every program has: the contract around it, exponential and logarithm"""


def of_layer(layer: Layer) -> int:
    """Felts of one layer's functions, and of the calls to them."""
    size = sum(CALL + len(boxes) * 6 for _, boxes in layer.calls)
    held = [len(calls_text.held(part)) for part in calls_text.parts(layer.calls)]
    size += sum(held) * (NEXT if len(held) == 1 else NUMBERED)
    for text in layer.functions:
        for line in text.splitlines():
            if "unbox()" in line:
                continue  # no code: it only names what a box holds
            if " * " in line:
                size += PRODUCT
            elif "= *r" in line:
                size += LOAD
            elif "split_shared" in line:
                size += SHARED
            elif "split" in line:
                size += SPLIT * (line.count(",") + 1)
            elif "largest_" in line:
                given = line.count(",") + 1
                size += COMPARISON * (given - 1) if given <= MOST_IN_PLACE else SHARED + given
            elif "imum(" in line or "leaky_relu(" in line:
                size += COMPARISON * max(1, line.count("leaky_relu("))
            elif "append" in line:
                size += line.count(",") + 1
                size += OTHER * line.count("(")
            else:
                size += OTHER
    return size


def of_program(layers: Sequence[Layer], input_rows: Sequence[Sequence[int]]) -> int:
    """Felts of a whole program: its layers, what reads and checks the input, and what every program has."""
    reading = INPUT * sum({len(row) for row in input_rows}) + CALL * len(input_rows)
    return BASE + reading + sum(map(of_layer, layers))
