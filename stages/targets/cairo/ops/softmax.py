"""Softmax and LogSoftmax over any axis but the batch's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.targets.cairo.ir.elementwise import each
from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.intervals import Interval
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ops.operation import OutOfRange, Read, Source, Unsupported
from recast.stages.targets.cairo.syntax.layer import Layer, Row
from recast.stages.targets.cairo.syntax.scalar import LN_BITS, Exponential, Logarithm

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Softmax:
    """e**(x - max) over their sum; exponentials and quotient are those of `scalar`."""

    def read(self, source: Source, fmt: Format) -> Read:
        """The axis, of one sample."""
        axis = int(source.attributes.get("axis", -1)) % (len(source.shape) + 1) - 1
        if source.attributes.get("all_behind", 0) and any(size != 1 for size in source.shape[axis + 1 :]):
            raise Unsupported("it runs over several axes, as before operator set 13")
        return Read({"axis": axis})

    def bounds(self, node: Node, program: Program, inputs: Sequence[Interval]) -> Interval:
        """From 0 to 1, and two units for the rounding."""
        import numpy as np

        self._check(node, program)
        shape = program.shapes[node.output]
        return Interval(np.zeros(shape), np.full(shape, float(program.format.one + 2)))

    def mirror(self, node: Node, program: Program, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """As the Cairo."""
        import numpy as np

        powers, total, _ = self._powers(node, program, inputs[0])
        wide, whole = powers.astype(object), total.astype(object)
        return np.asarray((wide * (2 * program.format.one) + whole) // (2 * whole), np.int64)

    def write(self, node: Node, program: Program, layer: Layer) -> None:
        """One row for each run along the axis."""
        tensor = node.inputs[0]
        for run in runs(program.shapes[tensor], node.attributes["axis"]):
            row = layer.row()
            x = [row.load(tensor, element) for element in run]
            shifted = self._shifted(row, x)
            for index, value in enumerate(shifted):
                row.line(f"let e{index} = {row.call('exp', value)};")
            row.line(f"let sum = {' + '.join(f'e{index}' for index in range(len(run)))};")
            row.finish(self._values(row, program, shifted), run, len(run))

    def _shifted(self, row: Row, x: Sequence[str]) -> list[str]:
        row.line(f"let m = {x[0]};")
        for value in x[1:]:
            row.line(f"let m = {row.call('maximum', value, 'm')};")
        return [f"{value} - m" for value in x]

    def _values(self, row: Row, program: Program, shifted: Sequence[str]) -> list[str]:
        one = program.format.one
        return [row.call("ratio", f"e{index} * {one:#x}", "sum") for index in range(len(shifted))]

    def _powers(self, node: Node, program: Program, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        axis = node.attributes["axis"] + 1
        shifted = x - x.max(axis=axis, keepdims=True)
        powers = each(Exponential(program.format), shifted)
        return powers, powers.sum(axis=axis, keepdims=True), shifted

    def _check(self, node: Node, program: Program) -> None:
        length = program.shapes[node.inputs[0]][node.attributes["axis"]]
        if (length * program.format.one).bit_length() >= LN_BITS:
            raise OutOfRange(f"the sum of {length} exponentials can reach {LN_BITS} bits")


class LogSoftmax(Softmax):
    """x - max - ln(sum of e**(x - max)), the exponentials and the logarithm rounded."""

    def bounds(self, node: Node, program: Program, inputs: Sequence[Interval]) -> Interval:
        """From the widest difference of inputs, less the logarithm of their number, to 0; eight units for rounding."""
        import numpy as np

        self._check(node, program)
        shape = program.shapes[node.output]
        length = program.shapes[node.inputs[0]][node.attributes["axis"]]
        low = float(inputs[0].low.min() - inputs[0].high.max()) - math.log(length + 1) * program.format.one - 8
        return Interval(np.full(shape, np.floor(low)), np.full(shape, 8.0 + length))

    def mirror(self, node: Node, program: Program, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """As the Cairo."""
        _, total, shifted = self._powers(node, program, inputs[0])
        logarithm: NDArray[Any] = shifted - each(Logarithm(program.format), total)
        return logarithm

    def _values(self, row: Row, program: Program, shifted: Sequence[str]) -> list[str]:
        row.line(f"let l = m + {row.call('ln', 'sum')};")
        return [f"{value.removesuffix(' - m')} - l" for value in shifted]


def runs(shape: Sequence[int], axis: int) -> list[list[int]]:
    """Element numbers of each run along an axis, in the order of the other axes."""
    import numpy as np

    elements = np.arange(math.prod(shape)).reshape(tuple(shape))
    return [list(map(int, run)) for run in np.moveaxis(elements, axis, -1).reshape(-1, shape[axis])]


OPERATIONS = {"Softmax": Softmax(), "LogSoftmax": LogSoftmax()}
