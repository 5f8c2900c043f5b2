"""Flatten, Reshape, Transpose, Concat and what else only moves elements: no Cairo at all, only another view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.intervals import Interval
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ir.view import View, joined
from recast.stages.targets.cairo.ops.operation import Read, Source, Unsupported
from recast.stages.targets.cairo.syntax.layer import Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Moving:
    """An operation whose output's elements are those of its inputs in another order."""

    def read(self, source: Source, fmt: Format) -> Read:
        """Flatten, Reshape, Squeeze, Unsqueeze, Identity, Dropout: the order stays as it is."""
        if not source.inputs:
            raise Unsupported("its input is a constant")
        if math.prod(source.shapes[0]) != math.prod(source.shape):
            raise Unsupported("it must keep the batch axis")
        return Read()

    def order(self, node: Node, program: Program) -> NDArray[Any]:
        """Element numbers of the inputs, one after the other, in the order and shape of the output."""
        import numpy as np

        return np.arange(program.size(node.output)).reshape(program.shapes[node.output])

    def bounds(self, node: Node, program: Program, inputs: Sequence[Interval]) -> Interval:
        """The same, in the new order."""
        import numpy as np

        order = self.order(node, program)
        return Interval(
            np.concatenate([one.low.ravel() for one in inputs])[order],
            np.concatenate([one.high.ravel() for one in inputs])[order],
        )

    def mirror(self, node: Node, program: Program, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The same, in the new order."""
        import numpy as np

        return np.concatenate([one.reshape(len(one), -1) for one in inputs], axis=1)[:, self.order(node, program)]

    def moved(self, node: Node, program: Program, views: Sequence[View]) -> View:
        """Where the output's elements lie."""
        return joined(views, self.order(node, program))

    def write(self, node: Node, program: Program, layer: Layer) -> None:
        """Nothing is written: see `moved`."""
        raise NotImplementedError


class Transpose(Moving):
    """Another order of the axes; the batch axis must stay the first."""

    def read(self, source: Source, fmt: Format) -> Read:
        """The permutation of one sample's axes."""
        axes = [int(axis) for axis in source.attributes.get("perm", reversed(range(len(source.shape) + 1)))]
        if axes[0] != 0:
            raise Unsupported(f"perm {axes} moves the batch axis")
        return Read({"perm": [axis - 1 for axis in axes[1:]]})

    def order(self, node: Node, program: Program) -> NDArray[Any]:
        """The input's element numbers, transposed."""
        import numpy as np

        elements = np.arange(program.size(node.output)).reshape(program.shapes[node.inputs[0]])
        return elements.transpose(node.attributes["perm"])


class Concat(Moving):
    """Tensors one behind the other along an axis."""

    def read(self, source: Source, fmt: Format) -> Read:
        """The axis, of one sample."""
        axis = int(source.attributes["axis"]) % (len(source.shape) + 1)
        if axis == 0:
            raise Unsupported("it joins samples of a batch")
        if source.constants:
            raise Unsupported("one of its inputs is a constant")
        return Read({"axis": axis - 1})

    def order(self, node: Node, program: Program) -> NDArray[Any]:
        """The inputs' element numbers, joined."""
        import numpy as np

        parts, start = [], 0
        for name in node.inputs:
            size = program.size(name)
            parts.append(np.arange(start, start + size).reshape(program.shapes[name]))
            start += size
        return np.concatenate(parts, axis=node.attributes["axis"])


class Slice(Moving):
    """Part of the input, by constant starts, ends, axes and steps."""

    def read(self, source: Source, fmt: Format) -> Read:
        """Start, end and step of each axis of one sample."""
        given = {name: source.attributes[name] for name in ("starts", "ends", "axes") if name in source.attributes}
        # from operator set 10 on, they are inputs
        names = {1: "starts", 2: "ends", 3: "axes", 4: "steps"}
        given |= {name: source.constants[index].tolist() for index, name in names.items() if index in source.constants}
        if len(source.inputs) != 1 or not {"starts", "ends"} <= given.keys():
            raise Unsupported("its starts and ends must be constants")
        starts, ends = given["starts"], given["ends"]
        axes = given.get("axes", range(len(starts)))
        steps = given.get("steps", [1] * len(starts))
        shape = (1, *source.shapes[0])
        slices = [[0, size, 1] for size in shape]
        for axis, *part in zip(axes, starts, ends, steps, strict=True):
            if axis % len(shape) == 0:
                raise Unsupported("it takes part of a batch")
            slices[axis % len(shape)] = list(map(int, part))
        if any(step < 1 for _, _, step in slices):
            raise Unsupported("its steps must be positive")
        return Read({"slices": [list(slice(*one).indices(size)) for one, size in zip(slices, shape, strict=True)][1:]})

    def order(self, node: Node, program: Program) -> NDArray[Any]:
        """The input's element numbers, sliced."""
        import numpy as np

        name = node.inputs[0]
        elements = np.arange(program.size(name)).reshape(program.shapes[name])
        return elements[tuple(slice(*one) for one in node.attributes["slices"])]


class Cast(Moving):
    """To float, of what is a number of the format here already (ArgMax's positions)."""

    def read(self, source: Source, fmt: Format) -> Read:
        """Unsupported for anything but floats."""
        if int(source.attributes["to"]) not in FLOATS:
            raise Unsupported("it casts to something other than float")
        return Read()


FLOATS = (1, 10, 11)
"""onnx.TensorProto.FLOAT, FLOAT16 and DOUBLE"""

OPERATIONS = {
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout"), Moving()),
    "Slice": Slice(),
    "Cast": Cast(),
    "Transpose": Transpose(),
    "Concat": Concat(),
}
