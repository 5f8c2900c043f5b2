"""Relu, LeakyRelu and Clip: each element for itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.intervals import Interval
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ops.operation import Operation, Read, Source, Unsupported
from recast.stages.targets.cairo.syntax.layer import Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Relu:
    """max(x, 0), exact."""

    def read(self, source: Source, fmt: Format) -> Read:
        """Nothing to keep."""
        return Read()

    def bounds(self, node: Node, program: Program, inputs: Sequence[Interval]) -> Interval:
        """Never below zero."""
        import numpy as np

        (x,) = inputs
        return Interval(np.maximum(x.low, 0), np.maximum(x.high, 0))

    def mirror(self, node: Node, program: Program, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """max(x, 0)."""
        import numpy as np

        found: NDArray[Any] = np.maximum(inputs[0], 0)
        return found

    def write(self, node: Node, program: Program, layer: Layer) -> None:
        """One comparison an element, unless the operation before it has already applied it."""
        write_each(node.inputs[0], layer, "relu")


class LeakyRelu:
    """x where x >= 0, else alpha x, rounded to the nearest, ties towards plus infinity."""

    def read(self, source: Source, fmt: Format) -> Read:
        """alpha as a raw number."""
        alpha = float(source.attributes.get("alpha", 0.01))
        if not 0 <= alpha <= 1:
            raise Unsupported(f"alpha is {alpha:g}; 0 to 1 is possible")
        return Read({"alpha": int(fmt.raw(alpha))})

    def bounds(self, node: Node, program: Program, inputs: Sequence[Interval]) -> Interval:
        """Monotone: that of the ends, one unit wider below zero, for the rounding."""
        import numpy as np

        slope = node.attributes["alpha"] / program.format.one
        low, high = inputs[0].low, inputs[0].high
        return Interval(
            np.where(low >= 0, low, np.floor(low * slope) - 1), np.where(high >= 0, high, np.ceil(high * slope) + 1)
        )

    def mirror(self, node: Node, program: Program, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """As the Cairo: (alpha x + half) >> fraction below zero."""
        import numpy as np

        (x,) = inputs
        fraction = program.format.fraction
        below = (x.astype(object) * node.attributes["alpha"] + (1 << (fraction - 1))) >> fraction
        return np.where(x >= 0, x, below).astype(np.int64)

    def write(self, node: Node, program: Program, layer: Layer) -> None:
        """One comparison an element, and a rescale below zero."""
        write_each(node.inputs[0], layer, "leaky_relu", hex(node.attributes["alpha"]))


class Clip:
    """min(max(x, low), high), exact; either limit may be absent."""

    def read(self, source: Source, fmt: Format) -> Read:
        """The limits as raw numbers, from inputs or attributes."""
        import numpy as np

        limits = {}
        for index, name in ((1, "min"), (2, "max")):
            value = source.constants.get(index, source.attributes.get(name))
            if value is not None and np.isfinite(value).all() and abs(float(np.ravel(value)[0])) < 2**fmt.integer:
                limits[name] = int(fmt.raw(np.ravel(value)[0]))
        if len(source.inputs) != 1:
            raise Unsupported("its limits must be constants")
        return Read(dict(limits))

    def bounds(self, node: Node, program: Program, inputs: Sequence[Interval]) -> Interval:
        """Monotone: that of the ends."""
        return Interval(*(self._of(node, end) for end in (inputs[0].low, inputs[0].high)))

    def mirror(self, node: Node, program: Program, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The larger of x and the lower limit, then the smaller of that and the upper."""
        return self._of(node, inputs[0])

    def write(self, node: Node, program: Program, layer: Layer) -> None:
        """One comparison for each limit."""
        limits = node.attributes
        for row_elements in layer.inputs[node.inputs[0]].row_lists():
            row = layer.row()
            values = [row.load(node.inputs[0], element) for element in row_elements]
            if "min" in limits:
                values = [row.call("maximum", value, literal(limits["min"])) for value in values]
            if "max" in limits:
                values = [row.call("minimum", value, literal(limits["max"])) for value in values]
            row.finish(values, row_elements, _width(layer, node.inputs[0]))

    def _of(self, node: Node, x: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        x = np.maximum(x, node.attributes["min"]) if "min" in node.attributes else x
        return np.minimum(x, node.attributes["max"]) if "max" in node.attributes else x


def write_each(tensor: str, layer: Layer, function: str, *arguments: str) -> None:
    """The same function of the fixed-point crate for every element, in the rows they lie in."""
    for elements in layer.inputs[tensor].row_lists():
        row = layer.row()
        values = [row.call(function, row.load(tensor, element), *arguments) for element in elements]
        row.finish(values, elements, _width(layer, tensor))


def literal(number: int) -> str:
    """A felt literal as an argument."""
    return str(number)


def _width(layer: Layer, tensor: str) -> int:
    return max(map(len, layer.inputs[tensor].row_lists()))


OPERATIONS: dict[str, Operation] = {"Relu": Relu(), "LeakyRelu": LeakyRelu(), "Clip": Clip()}
