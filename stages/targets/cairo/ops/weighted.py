"""What all operations with constant weights share: they differ only in their sums; see `linear`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.intervals import Interval
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ops import linear_text
from recast.stages.targets.cairo.ops.linear import Linear
from recast.stages.targets.cairo.ops.operation import Read, Source
from recast.stages.targets.cairo.syntax.layer import Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Weighted(ABC):
    """An operation that is a `Linear`. Results are rounded to the nearest, ties towards plus infinity."""

    @abstractmethod
    def read(self, source: Source, fmt: Format) -> Read:
        """See `Operation.read`."""

    @abstractmethod
    def linear(self, node: Node, program: Program) -> Linear:
        """The sums of a node."""

    def bias(self, node: Node, program: Program) -> NDArray[Any]:
        """The node's biases with the fraction bits of its sums."""
        shift = program.format.fraction + node.attributes["weight_fraction"] - node.attributes["bias_fraction"]
        held = node.constants["bias"]
        return held.astype(object) << shift if shift else held

    def bounds(self, node: Node, program: Program, inputs: Sequence[Interval]) -> Interval:
        """From weights and input's interval; OutOfRange if a sum does not fit the widest accumulator."""
        linear = self.linear(node, program)
        linear.slots(inputs[0])
        found, _ = linear.interval(inputs[0])
        shape = program.shapes[node.output]
        return Interval(found.low.reshape(shape), found.high.reshape(shape))

    def mirror(self, node: Node, program: Program, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """See `Linear.mirror`."""
        (x,) = inputs
        return self.linear(node, program).mirror(x.reshape(len(x), -1)).reshape(len(x), *program.shapes[node.output])

    def write(self, node: Node, program: Program, layer: Layer) -> None:
        """Sums with the weights as literals; a Relu behind it is applied on the way."""
        linear_text.write(self.linear(node, program), node.inputs[0], layer)
