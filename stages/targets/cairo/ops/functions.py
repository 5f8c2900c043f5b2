"""Exp, Log, Sigmoid and Tanh: a function of `recast.stages.targets.cairo.syntax.scalar` for every element."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.targets.cairo.ir.elementwise import each
from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.intervals import Interval
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ops.operation import Operation, OutOfRange, Read, Source
from recast.stages.targets.cairo.ops.pointwise import write_each
from recast.stages.targets.cairo.syntax.layer import Layer
from recast.stages.targets.cairo.syntax.scalar import LN_BITS, Exponential, Logarithm, hyperbolic_tangent, sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNITS = 4
"""of the last bit, by which a function may be off at most, for its bounds"""


class Function:
    """A rising function of each element."""

    def __init__(self, name: str, function: Callable[[Format], Callable[[int], int]]) -> None:
        self._name, self._function = name, function

    def read(self, source: Source, fmt: Format) -> Read:
        """Nothing to keep."""
        return Read()

    def check(self, x: Interval, fmt: Format) -> None:
        """OutOfRange for inputs that the function cannot be given."""

    def bounds(self, node: Node, program: Program, inputs: Sequence[Interval]) -> Interval:
        """That of the ends, as the function gives them, and a few units for its error."""
        import numpy as np

        (x,) = inputs
        self.check(x, program.format)
        function = self._function(program.format)
        low = each(function, np.floor(x.low).astype(np.int64)).astype(np.float64) - UNITS
        high = each(function, np.ceil(x.high).astype(np.int64)).astype(np.float64)
        # an exponential's error grows with it
        return Interval(low, np.ceil(high * (1 + 2.0**-12)) + UNITS)

    def mirror(self, node: Node, program: Program, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """As the Cairo."""
        return each(self._function(program.format), inputs[0])

    def write(self, node: Node, program: Program, layer: Layer) -> None:
        """A call for each element."""
        write_each(node.inputs[0], layer, self._name)


class Exp(Function):
    """e**x; what it can become must fit the format."""

    def check(self, x: Interval, fmt: Format) -> None:
        """OutOfRange if a power can leave the format."""
        largest = float(x.high.max()) / fmt.one
        if largest >= fmt.integer * math.log(2) - 0.01:
            raise OutOfRange(
                f"its inputs can reach {largest:.6g}, and e to that is beyond the format",
                max(4, math.ceil(largest / math.log(2)) + 1),
            )


class Log(Function):
    """ln x; what it is given must be positive."""

    def check(self, x: Interval, fmt: Format) -> None:
        """OutOfRange if an input can be zero or less, or too long."""
        smallest = float(x.low.min())
        if smallest < 1:
            raise OutOfRange(f"its inputs can be as low as {smallest / fmt.one:.6g}, which has no logarithm")
        if float(x.high.max()) >= 2.0**LN_BITS:
            raise OutOfRange(f"its inputs can reach {LN_BITS} bits")


OPERATIONS: dict[str, Operation] = {
    "Exp": Exp("exp", Exponential),
    "Log": Log("ln", Logarithm),
    "Sigmoid": Function("sigmoid", sigmoid),
    "Tanh": Function("tanh", hyperbolic_tangent),
}
