"""Writes a linear node: straight-line sums with the weights as literals, two steps per packed product."""

from __future__ import annotations

from collections.abc import Sequence

from stages.cairo.layer import Layer
from stages.cairo.linear import Block, Linear, packs
from stages.cairo.slots import Slots

MOST_PRODUCTS = 3000
"""packed products in one function; the compiler's time grows faster than a function"""


def write(linear: Linear, tensor: str, layer: Layer, slots: Slots, activation: str) -> None:
    """Add rows that hold the node's rescaled sums; `activation` is "" or "relu", applied on the way."""
    jobs = [
        (block, felts)
        for block in linear.blocks
        for together in block.together
        for felts in _split(block, packs(block, together, slots.count))
    ]
    width = max(sum(len(felt) for felt in felts) for _, felts in jobs)
    for block, felts in jobs:
        _row(linear, block, felts, tensor, layer, slots, activation, width)


def _split(block: Block, felts: list[list[tuple[int, int]]]) -> list[list[list[tuple[int, int]]]]:
    """Felts of several functions, so that none has too many products; all alike in size."""
    taps = block.patches.shape[1]
    most = max(1, MOST_PRODUCTS // taps)
    functions = -(-len(felts) // most)
    size = -(-len(felts) // functions)
    return [felts[start : start + size] for start in range(0, len(felts), size)]


def _row(
    linear: Linear,
    block: Block,
    felts: list[list[tuple[int, int]]],
    tensor: str,
    layer: Layer,
    slots: Slots,
    activation: str,
    width: int,
) -> None:
    row = layer.row()
    view = layer.inputs[tensor]
    # input element -> (felt, packed weight); inputs in the order in which they lie, each loaded once
    products: dict[int, list[tuple[int, int]]] = {}
    for number, felt in enumerate(felts):
        packed: dict[int, int] = {}
        for slot, (patch, weights) in enumerate(felt):
            position = slots.position(slot)
            for element, weight in zip(block.patches[patch].tolist(), block.weights[weights].tolist(), strict=True):
                if element >= 0 and weight:
                    packed[element] = packed.get(element, 0) + (weight << position)
        for element, weight in packed.items():
            products.setdefault(element, []).append((number, weight))
    started: set[int] = set()
    for element in sorted(products, key=lambda one: view.place(one)):
        x = row.load(tensor, element)
        for number, weight in products[element]:
            layer.steps += 1
            before = f"a{number}" if number in started else _bias(linear, block, felts[number], layer, slots)
            row.line(f"let a{number} = {before} + {x} * {_literal(weight)};")
            started.add(number)
    values: list[str] = []
    elements: list[int] = []
    for number, felt in enumerate(felts):
        if number not in started:  # every weight is zero
            row.line(f"let a{number} = {_bias(linear, block, felt, layer, slots)};")
        outputs = [f"y{len(values) + index}" for index in range(len(felt))]
        function = splitter(slots, linear.drop, len(felt), activation)
        pattern = f"({', '.join(outputs)})" if len(outputs) > 1 else outputs[0]
        row.line(f"let {pattern} = {row.call(function, f'a{number}')};")
        values += outputs
        elements += [int(block.outputs[patch, weights]) for patch, weights in felt]
    row.finish(values, elements, width)


def _bias(linear: Linear, block: Block, felt: Sequence[tuple[int, int]], layer: Layer, slots: Slots) -> str:
    """The felt the sums start with: biases, half a unit for rounding, and the offset that makes every sum positive."""
    half = 1 << (linear.drop - 1)
    starts = [int(linear.bias[block.outputs[patch, row]]) + half + slots.offset for patch, row in felt]
    # unused slots too, so that the upper half is never zero
    starts += [slots.offset] * (slots.count - len(felt))
    return f"bias::{layer.constant(slots.pack(starts), 'B')}"


def splitter(slots: Slots, drop: int, used: int, activation: str) -> str:
    """Name of the fixed-point crate's function that takes sums out of a felt; see `stages.cairo.split_text`."""
    return f"split{'_' + activation if activation else ''}_{slots.width}_{drop}_{used}"


def _literal(number: int) -> str:
    """A felt literal; a negative one stands in brackets."""
    return hex(number) if number >= 0 else f"(-{hex(-number)})"
