"""Add, Sub, Mul and Div of two tensors, or of a tensor and a constant, with broadcasting.

Add and Sub are exact. Mul rounds to the nearest, ties towards plus infinity; so does Div by a constant, which
multiplies by its reciprocal. Div by a tensor rounds ties away from zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.intervals import Interval, outward
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ops.operation import OutOfRange, Read, Source, Unsupported
from recast.stages.targets.cairo.syntax.layer import Layer
from recast.stages.targets.cairo.syntax.scalar import ROOM, divided, shifted

if TYPE_CHECKING:
    from numpy.typing import NDArray

MORE_BITS = 8
"""of a factor that is a constant, behind the point"""
CELLS = 32
"""of an output row, where the inputs' rows do not fit"""


class Arithmetic:
    """One of the four: what it does with two operands, the results' bounds, and its Cairo."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def read(self, source: Source, fmt: Format) -> Read:
        """A constant operand as it is used: of a division, the reciprocal."""
        import numpy as np

        if len(source.inputs) + len(source.constants) != 2 or not source.inputs:
            raise Unsupported("it needs two operands, of which one may be a constant")
        if not source.constants:
            return Read({"constant": -1})
        ((index, value),) = source.constants.items()
        whole = (1, *source.shape)
        if np.broadcast_shapes(value.shape, whole) != whole:
            raise Unsupported(f"its constant of shape {list(value.shape)} has more axes than the other operand")
        constant = np.broadcast_to(np.asarray(value, np.float64), whole)[0].ravel()
        factor = self._kind in ("Mul", "Div")
        if self._kind == "Div":
            if index == 0:
                raise Unsupported("it divides a constant by a tensor")
            if (constant == 0).any():
                raise Unsupported("its divisor is zero")
            constant = 1 / constant
        fraction = fmt.fraction + (MORE_BITS if factor else 0)
        return Read({"constant": index}, weights={"constant": constant}, weight_fraction=fraction)

    def bounds(self, node: Node, program: Program, inputs: Sequence[Interval]) -> Interval:
        """Of the ends of both operands; OutOfRange for a product too long, and for a divisor that can be zero."""
        import numpy as np

        lows = self._operands(node, program, [one.low[None] for one in inputs])
        highs = self._operands(node, program, [one.high[None] for one in inputs])
        a, b = ((low[0].astype(np.float64), high[0].astype(np.float64)) for low, high in zip(lows, highs, strict=True))
        if self._kind in ("Add", "Sub"):
            b = b if self._kind == "Add" else (-b[1], -b[0])
            return outward(a[0] + b[0], a[1] + b[1], np.abs(a[0]) + np.abs(a[1]) + np.abs(b[0]) + np.abs(b[1]))
        scale = 2.0 ** self._drop(node, program)
        if self._kind == "Div" and "constant" not in node.constants:
            if ((b[0] <= 0) & (b[1] >= 0)).any():
                raise OutOfRange("its divisor can be zero")
            b, scale = (1 / b[1], 1 / b[0]), 1.0 / program.format.one
        corners = [x * y for x in a for y in b]
        size = np.maximum.reduce([np.abs(one) for one in corners])
        if float(size.max(initial=0)) >= 2.0 ** (ROOM - 1):
            raise OutOfRange(f"its products can reach {int(size.max()).bit_length()} bits, and {ROOM - 1} are possible")
        return outward(np.minimum.reduce(corners) / scale - 1, np.maximum.reduce(corners) / scale + 1, size / scale)

    def mirror(self, node: Node, program: Program, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """As the Cairo."""
        import numpy as np

        a, b = self._operands(node, program, inputs)
        if self._kind in ("Add", "Sub"):
            return np.asarray(a + b if self._kind == "Add" else a - b)
        wide, by = a.astype(object), b.astype(object)
        if self._kind == "Div" and "constant" not in node.constants:
            return np.asarray(np.frompyfunc(divided, 2, 1)(wide * program.format.one, by), np.int64)
        drop = self._drop(node, program)
        limit = int(np.abs(a).max(initial=0)) * int(np.abs(b).max(initial=0))
        return np.asarray(shifted(a * b if limit < 2**61 else wide * by, drop), np.int64)

    def write(self, node: Node, program: Program, layer: Layer) -> None:
        """One expression for each element, in the rows of an operand as large as the output."""
        import numpy as np

        shape = program.shapes[node.output]
        size = math.prod(shape)
        places = [
            np.broadcast_to(np.arange(program.size(name)).reshape(self._aligned(name, program, shape)), shape).ravel()
            for name in node.inputs
        ]
        whole = [name for name in node.inputs if program.size(name) == size]
        rows = (
            layer.inputs[whole[0]].row_lists()
            if whole
            else [list(range(start, min(start + CELLS, size))) for start in range(0, size, CELLS)]
        )
        width = max(map(len, rows))
        for elements in rows:
            row = layer.row()
            values = []
            for element in elements:
                operands = [row.load(name, int(at[element])) for name, at in zip(node.inputs, places, strict=True)]
                if "constant" in node.constants:
                    operands.insert(node.attributes["constant"], f"({int(node.constants['constant'][element])})")
                layer.products += self._kind in ("Mul", "Div")
                values.append(self._expression(operands, node, program, layer))
            row.finish(values, elements, width)

    def _expression(self, operands: Sequence[str], node: Node, program: Program, layer: Layer) -> str:
        a, b = operands
        if self._kind in ("Add", "Sub"):
            return f"{a} {'+' if self._kind == 'Add' else '-'} {b}"
        if self._kind == "Div" and "constant" not in node.constants:
            layer.fixed_point.add("divide")
            return f"divide({a} * {program.format.one:#x}, {b})"
        function = f"shift_{self._drop(node, program)}"
        layer.fixed_point.add(function)
        return f"{function}({a} * {b})"

    def _drop(self, node: Node, program: Program) -> int:
        return program.format.fraction + (MORE_BITS if "constant" in node.constants else 0)

    def _operands(self, node: Node, program: Program, values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Both operands as (N, *shape), from (N, *own shape) of those that are tensors."""
        import numpy as np

        shape = program.shapes[node.output]
        count = len(values[0])
        operands = [
            np.broadcast_to(value.reshape(count, *self._aligned(name, program, shape)), (count, *shape))
            for name, value in zip(node.inputs, values, strict=True)
        ]
        if "constant" in node.constants:
            operands.insert(node.attributes["constant"], node.constants["constant"].reshape(1, *shape))
        return operands

    def _aligned(self, name: str, program: Program, shape: Sequence[int]) -> tuple[int, ...]:
        own = program.shapes[name]
        return (*([1] * (len(shape) - len(own))), *own)


OPERATIONS = {kind: Arithmetic(kind) for kind in ("Add", "Sub", "Mul", "Div")}
