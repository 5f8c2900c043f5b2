"""Writes a linear node: straight-line sums with the weights as literals, two steps per packed product."""

from __future__ import annotations

from dataclasses import dataclass

from recast.stages.targets.cairo.ir.slots import Slots
from recast.stages.targets.cairo.ops.linear import Block, Linear, packs
from recast.stages.targets.cairo.syntax.casm import PRIME
from recast.stages.targets.cairo.syntax.layer import Layer, Row

MOST_INLINED = 16
"""outputs of a layer up to which sums are taken apart in place, which saves 16 steps a felt and costs 200 felts, and
more, the more outputs are live around each comparison of a ReLU"""
MOST_SUMS = 180
"""outputs of one function"""
MOST_PRODUCTS = 600
"""packed products in one function; the compiler's time and memory grow faster than a function. With five times as many,
a dense layer takes a tenth less steps, and the compiler five times the memory"""


def write(linear: Linear, tensor: str, layer: Layer) -> None:
    """Add rows that hold the rescaled sums of a node that reads `tensor`; the layer's activation is applied too."""
    slots = linear.slots(layer.bounds[tensor])
    layer.slots_text = f"{slots.count} of {slots.width} bits"
    groups = [
        SumGroup(block, felts)
        for block in linear.blocks
        for together in block.together
        for felts in _split(block, packs(block, together, slots.count), layer.call_data)
    ]
    writer = SumWriter(linear, tensor, layer, slots, max(group.sums for group in groups))
    for group in groups:
        writer.write(group)


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


@dataclass(frozen=True)
class SumGroup:
    """Sums of a block that one function computes."""

    block: Block
    felts: list[list[tuple[int, int]]]
    """felts, each as the (patch, row of the weights) of its slots"""

    @property
    def sums(self) -> int:
        """How many there are: the cells of the row that the function makes."""
        return sum(map(len, self.felts))

    @property
    def one_weight(self) -> bool:
        """Whether all inputs have the same weight, as in a mean."""
        weights = self.block.weights
        return len(weights) == 1 and bool((weights == weights[0, 0]).all()) and self.block.patches.shape[1] > 1


@dataclass(frozen=True)
class SumWriter:
    """Writes the sums of one node into its layer."""

    linear: Linear
    tensor: str
    """the node's input"""
    layer: Layer
    slots: Slots
    width: int
    """cells of a row of the output"""

    def write(self, group: SumGroup) -> None:
        """Add the row of a group."""
        row = self.layer.row()
        if group.one_weight:
            self._means(row, group)
        else:
            self._products(row, group)
        self._finish(row, group)

    def _products(self, row: Row, group: SumGroup) -> None:
        """Packed products, input by input, so that each is loaded once."""
        layer = self.layer
        products = self._packed(group)
        order = sorted(products, key=layer.inputs[self.tensor].place)
        starts = [self._start(group.block, felt) for felt in group.felts]
        if layer.call_data:
            place = layer.place_weights([starts[0] % PRIME, *(products[one][0][1] % PRIME for one in order)])
            row.line(f"let a0 = {row.weight(place, 0)};")
        else:
            place = -1
            for number, start in enumerate(starts):
                row.line(f"let a{number} = {layer.constant(start)};")
        for index, element in enumerate(order):
            x = row.load(self.tensor, element)
            for number, weight in products[element]:
                layer.products += 1
                factor = row.weight(place, index + 1) if layer.call_data else _literal(weight)
                row.line(f"let a{number} = a{number} + {x} * {factor};")

    def _packed(self, group: SumGroup) -> dict[int, list[tuple[int, int]]]:
        """Input element -> (felt, weights of its slots in one number), for the felts in which it has any."""
        block = group.block
        products: dict[int, list[tuple[int, int]]] = {}
        for number, felt in enumerate(group.felts):
            packed: dict[int, int] = {}
            for slot, (patch, weights) in enumerate(felt):
                position = self.slots.position(slot)
                for element, weight in zip(block.patches[patch].tolist(), block.weights[weights].tolist(), strict=True):
                    if element >= 0 and weight:
                        packed[element] = packed.get(element, 0) + (weight << position)
            for element, weight in packed.items():
                products.setdefault(element, []).append((number, weight))
        return products

    def _means(self, row: Row, group: SumGroup) -> None:
        """Sums with one weight: inputs are added first, and each sum is multiplied once, into its slot."""
        block = group.block
        weight = int(block.weights[0, 0])
        for number, felt in enumerate(group.felts):
            row.line(f"let a{number} = {self.layer.constant(self._start(block, felt))};")
            for slot, (patch, _) in enumerate(felt):
                x = [row.load(self.tensor, element) for element in block.patches[patch].tolist() if element >= 0]
                self.layer.products += 1
                row.line(f"let s = {x[0]};")
                for more in x[1:]:
                    row.line(f"let s = s + {more};")
                row.line(f"let a{number} = a{number} + s * {_literal(weight << self.slots.position(slot))};")

    def _finish(self, row: Row, group: SumGroup) -> None:
        """Take the sums out of their felts, and end the row with them."""
        values: list[str] = []
        elements: list[int] = []
        for number, felt in enumerate(group.felts):
            outputs = [f"y{len(values) + index}" for index in range(len(felt))]
            pattern = f"({', '.join(outputs)})" if len(outputs) > 1 else outputs[0]
            row.line(f"let {pattern} = {row.call(self._splitter(len(felt)), f'a{number}')};")
            values += outputs
            elements += [int(group.block.outputs[patch, weights]) for patch, weights in felt]
        row.finish(values, elements, self.width)

    def _splitter(self, used: int) -> str:
        """Name of the fixed-point crate's function that takes sums out of a felt; see `split_text`."""
        shared = len(self.linear.bias) > MOST_INLINED
        kind = f"{'_shared' if shared else ''}{'_' + self.layer.activation if self.layer.activation else ''}"
        return f"split{kind}_{self.slots.width}_{self.linear.drop}_{used}"

    def _start(self, block: Block, felt: list[tuple[int, int]]) -> int:
        """What the sums start with: biases, half a unit for rounding, and the offset that makes every sum positive."""
        half = 1 << (self.linear.drop - 1)
        starts = [int(self.linear.bias[block.outputs[patch, row]]) + half + self.slots.offset for patch, row in felt]
        return self.slots.pack(starts)


def _literal(number: int) -> str:
    """A felt literal; a negative one stands in brackets."""
    return hex(number) if number >= 0 else f"(-{hex(-number)})"
