"""MaxPool, ReduceMax and ArgMax: exact, by comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.intervals import Interval
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ops.averages import reduced_axes, reduced_lists
from recast.stages.targets.cairo.ops.operation import Operation, Read, Source, Unsupported
from recast.stages.targets.cairo.ops.windows import read_window, window_elements
from recast.stages.targets.cairo.syntax.layer import Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Maximum:
    """The largest of a list of elements, for each output."""

    def lists(self, node: Node, program: Program) -> NDArray[Any]:
        """(outputs, elements), -1 for none."""
        raise NotImplementedError

    def read(self, source: Source, fmt: Format) -> Read:
        """See `Operation.read`."""
        raise NotImplementedError

    def bounds(self, node: Node, program: Program, inputs: Sequence[Interval]) -> Interval:
        """The largest of the lists' ends."""
        shape = program.shapes[node.output]
        low, high = (self._largest(node, program, end.reshape(1, -1)) for end in (inputs[0].low, inputs[0].high))
        return Interval(low.reshape(shape), high.reshape(shape))

    def mirror(self, node: Node, program: Program, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The largest."""
        x = inputs[0].reshape(len(inputs[0]), -1)
        return self._largest(node, program, x).reshape(len(x), *program.shapes[node.output])

    def write(self, node: Node, program: Program, layer: Layer) -> None:
        """One comparison less than there are elements, for each output."""
        tensor, lists = node.inputs[0], self.lists(node, program)
        width = program.shapes[node.output][-1] if program.shapes[node.output] else 1
        width = width if width <= MOST_IN_ROW else 1
        for start in range(0, len(lists), width):
            row = layer.row()
            values = []
            for index, elements in enumerate(lists[start : start + width].tolist()):
                x = [row.load(tensor, element) for element in elements if element >= 0]
                row.line(f"let y{index} = {row.call(f'largest_{len(x)}', *x)};")
                values.append(f"y{index}")
            row.finish(values, range(start, start + len(values)), width)

    def _largest(self, node: Node, program: Program, x: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        lists = self.lists(node, program)
        lowest = x.min(axis=1, keepdims=True)  # stands for what is over the edge
        found: NDArray[Any] = np.concatenate([x, lowest], axis=1)[:, lists].max(axis=-1)
        return found


MOST_IN_ROW = 64


class MaxPool(Maximum):
    """The largest of each window; what lies over the edge does not count."""

    def read(self, source: Source, fmt: Format) -> Read:
        """The window."""
        if source.attributes.get("ceil_mode", 0):
            raise Unsupported("ceil_mode is not possible")
        return Read(read_window(source, source.attributes["kernel_shape"]))

    def lists(self, node: Node, program: Program) -> NDArray[Any]:
        """One list for each window of each channel."""
        import numpy as np

        channels, *image = program.shapes[node.inputs[0]]
        windows = window_elements(node.attributes, image, program.shapes[node.output][1:])
        starts = np.arange(channels)[:, None, None] * math.prod(image)
        return np.where(windows < 0, -1, windows + starts).reshape(-1, windows.shape[1])


class ReduceMax(Maximum):
    """The largest over any axes but the batch's."""

    def read(self, source: Source, fmt: Format) -> Read:
        """The axes, of one sample."""
        return Read({"axes": reduced_axes(source)})

    def lists(self, node: Node, program: Program) -> NDArray[Any]:
        """One list for each output."""
        return reduced_lists(program.shapes[node.inputs[0]], node.attributes["axes"])


class ArgMax:
    """The position of the first of the largest elements along an axis, as a number of the format."""

    def read(self, source: Source, fmt: Format) -> Read:
        """The axis, of one sample."""
        axis = int(source.attributes.get("axis", 0)) % (len(source.shapes[0]) + 1)
        if axis == 0:
            raise Unsupported("it mixes the samples of a batch")
        if source.attributes.get("select_last_index", 0):
            raise Unsupported("select_last_index is not possible")
        return Read({"axes": [axis - 1]})

    def bounds(self, node: Node, program: Program, inputs: Sequence[Interval]) -> Interval:
        """From 0 to the last position."""
        import numpy as np

        shape = program.shapes[node.output]
        last = program.shapes[node.inputs[0]][node.attributes["axes"][0]] - 1
        return Interval(np.zeros(shape), np.full(shape, float(last * program.format.one)))

    def mirror(self, node: Node, program: Program, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The first position of the largest."""
        lists = reduced_lists(program.shapes[node.inputs[0]], node.attributes["axes"])
        x = inputs[0].reshape(len(inputs[0]), -1)
        found: NDArray[Any] = x[:, lists].argmax(axis=-1) * program.format.one
        return found.reshape(len(x), *program.shapes[node.output])

    def write(self, node: Node, program: Program, layer: Layer) -> None:
        """One comparison for each element but the first."""
        tensor = node.inputs[0]
        for output, elements in enumerate(reduced_lists(program.shapes[tensor], node.attributes["axes"]).tolist()):
            row = layer.row()
            row.line(f"let (m, i) = ({row.load(tensor, elements[0])}, 0);")
            for index, element in enumerate(elements[1:], 1):
                x = row.load(tensor, element)
                row.line(f"let (m, i) = {row.call('larger', 'm', 'i', x, hex(index * program.format.one))};")
            row.finish(["i"], [output], 1)


OPERATIONS: dict[str, Operation] = {"MaxPool": MaxPool(), "ReduceMax": ReduceMax(), "ArgMax": ArgMax()}
