"""Estimates how many felts the emitted Cairo compiles to, with Cairo 2.1's figures."""

from __future__ import annotations

from collections.abc import Sequence

from recast.stages.targets.cairo.syntax.layer import Layer

PRODUCT, LOAD, SPLIT, SHARED, COMPARISON, CALL, INPUT, OTHER = 3, 1, 36, 22, 50, 8, 120, 12
"""felts of a product with its addition, a load, a sum's share of a split, a split that is called, a comparison, a call,
a cell of an input row, any other line"""
BASE = 3000
"""felts of what every program has: the contract around it, exponential and logarithm"""


def of_layer(layer: Layer) -> int:
    """Felts of one layer's functions, and of the calls to them."""
    size = sum(CALL + len(boxes) * 6 for _, boxes in layer.calls)
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
            elif "imum(" in line:
                size += COMPARISON
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
