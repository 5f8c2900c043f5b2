"""Writes a linear node: straight-line sums with the weights as literals, two steps per packed product."""

from __future__ import annotations

from collections.abc import Sequence

from stages.cairo.casm import PRIME
from stages.cairo.layer import Layer, Row
from stages.cairo.linear import Block, Linear, packs
from stages.cairo.slots import Slots

MOST_INLINED = 256
"""outputs of a layer up to which sums are taken apart in place, which saves 16 steps a felt and costs 200 felts"""
MOST_SUMS = 180
"""outputs of one function"""
MOST_PRODUCTS = 3000
"""packed products in one function; the compiler's time grows faster than a function"""


def write(linear: Linear, tensor: str, layer: Layer, slots: Slots, activation: str) -> None:
    """Add rows that hold the node's rescaled sums; `activation` is "" or "relu", applied on the way."""
    jobs = [
        (block, felts)
        for block in linear.blocks
        for together in block.together
        for felts in _split(block, packs(block, together, slots.count), layer.call_data)
    ]
    layer.slots_text = f"{slots.count} of {slots.width} bits"
    width = max(sum(len(felt) for felt in felts) for _, felts in jobs)
    for block, felts in jobs:
        if len(block.weights) == 1 and (block.weights == block.weights[0, 0]).all() and block.patches.shape[1] > 1:
            _means(linear, block, felts, tensor, layer, slots, activation, width)
            continue
        _row(linear, block, felts, tensor, layer, slots, activation, width)


def _split(block: Block, felts: list[list[tuple[int, int]]], call_data: bool) -> list[list[list[tuple[int, int]]]]:
    """Felts of several functions, so that none has too many products; all alike in size.

    With weights from the call data, one felt a function: all sums of a layer can then be made by the same code.
    """
    if call_data:
        return [[felt] for felt in felts]
    taps = block.patches.shape[1]
    most = max(1, min(MOST_PRODUCTS // taps, MOST_SUMS // max(map(len, felts))))
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
    order = sorted(products, key=lambda one: view.place(one))
    starts = [_start(linear, block, felt, slots) for felt in felts]
    if layer.call_data:
        place = layer.place_weights([starts[0] % PRIME, *(products[one][0][1] % PRIME for one in order)])
        row.line(f"let a0 = {row.weight(place, 0)};")
    else:
        place = -1
        for number, start in enumerate(starts):
            row.line(f"let a{number} = {layer.constant(start)};")
    for index, element in enumerate(order):
        x = row.load(tensor, element)
        for number, weight in products[element]:
            layer.products += 1
            factor = row.weight(place, index + 1) if layer.call_data else _literal(weight)
            row.line(f"let a{number} = a{number} + {x} * {factor};")
    _finish(row, linear, block, felts, layer, slots, activation, width)


def _means(
    linear: Linear,
    block: Block,
    felts: list[list[tuple[int, int]]],
    tensor: str,
    layer: Layer,
    slots: Slots,
    activation: str,
    width: int,
) -> None:
    """Sums with one weight: inputs are added first, and each sum is multiplied once, into its slot."""
    row = layer.row()
    weight = int(block.weights[0, 0])
    for number, felt in enumerate(felts):
        row.line(f"let a{number} = {layer.constant(_start(linear, block, felt, slots))};")
        for slot, (patch, _) in enumerate(felt):
            x = [row.load(tensor, element) for element in block.patches[patch].tolist() if element >= 0]
            layer.products += 1
            row.line(f"let s = {x[0]};")
            for more in x[1:]:
                row.line(f"let s = s + {more};")
            row.line(f"let a{number} = a{number} + s * {_literal(weight << slots.position(slot))};")
    _finish(row, linear, block, felts, layer, slots, activation, width)


def _finish(
    row: Row,
    linear: Linear,
    block: Block,
    felts: list[list[tuple[int, int]]],
    layer: Layer,
    slots: Slots,
    activation: str,
    width: int,
) -> None:
    """Take the sums out of their felts, and end the row with them."""
    values: list[str] = []
    elements: list[int] = []
    for number, felt in enumerate(felts):
        outputs = [f"y{len(values) + index}" for index in range(len(felt))]
        shared = len(linear.bias) > MOST_INLINED
        function = splitter(slots, linear.drop, len(felt), activation, shared)
        pattern = f"({', '.join(outputs)})" if len(outputs) > 1 else outputs[0]
        row.line(f"let {pattern} = {row.call(function, f'a{number}')};")
        values += outputs
        elements += [int(block.outputs[patch, weights]) for patch, weights in felt]
    row.finish(values, elements, width)


def _start(linear: Linear, block: Block, felt: Sequence[tuple[int, int]], slots: Slots) -> int:
    """The felt the sums start with: biases, half a unit for rounding, and the offset that makes every sum positive."""
    half = 1 << (linear.drop - 1)
    starts = [int(linear.bias[block.outputs[patch, row]]) + half + slots.offset for patch, row in felt]
    # unused slots too, so that the upper half is never zero
    starts += [slots.offset] * (slots.count - len(felt))
    return slots.pack(starts)


def splitter(slots: Slots, drop: int, used: int, activation: str, shared: bool) -> str:
    """Name of the fixed-point crate's function that takes sums out of a felt; see `stages.cairo.split_text`."""
    kind = f"{'_shared' if shared else ''}{'_' + activation if activation else ''}"
    return f"split{kind}_{slots.width}_{drop}_{used}"


def _literal(number: int) -> str:
    """A felt literal; a negative one stands in brackets."""
    return hex(number) if number >= 0 else f"(-{hex(-number)})"
