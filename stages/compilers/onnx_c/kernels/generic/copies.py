"""Operators that only move data: each output element is an input element at an affine place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import PLAIN, Call, Kernel, Needs
from recast.stages.compilers.onnx_c.syntax.loops import View, broadcast, collapse, nest, variables, view

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
CONVERT = "Convert"
"""our own operator: the same tensor in another layout or with another border"""


def copy(target: View, source: View, shape: Sequence[int]) -> str:
    """Loops that copy an array of this shape from one view to another."""
    if 0 in shape:
        return ""
    extents, (to, origin) = collapse(shape, [target, source])
    indices = variables(len(extents))
    return nest(indices, extents, f"{to.at(indices)} = {origin.at(indices)};", independent=True)


def part(whole: View, axis: int, start: int, step: int = 1) -> View:
    """The view that begins at `start` of an axis and advances by `step`."""
    strides = list(whole.strides)
    offset = whole.offset + start * strides[axis]
    strides[axis] *= step
    return replace(whole, strides=tuple(strides), offset=offset)


class Reshape(Kernel):
    """Nothing to do where the output can lie where the input lies; a copy where it cannot."""

    name = "reshape"
    ops = RESHAPES
    renames = True

    def needs(self, node: Node, graph: Graph) -> Needs:
        return Needs((PLAIN,) * len(node.inputs), (PLAIN,))

    def emit(self, call: Call) -> str:
        size = call.tensor(call.node.outputs[0]).size
        return copy(View("y0", (1,)), View("x0", (1,)), (size,))


class Convert(Kernel):
    """The same elements in another layout."""

    name = "convert"
    ops = (CONVERT,)

    def emit(self, call: Call) -> str:
        x, y = call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        return copy(view(y, "y0"), view(x, "x0"), y.shape)


class Transpose(Kernel):
    """Axes in another order."""

    name = "transpose"
    ops = ("Transpose",)

    def emit(self, call: Call) -> str:
        x, y = call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        order = call.node.attributes.get("perm", list(reversed(range(len(x.shape)))))
        return copy(view(y, "y0"), View("x0", tuple(x.strides[axis] for axis in order)), y.shape)


class Blocks(Kernel):
    """DepthToSpace and SpaceToDepth: channels to blocks of pixels, and back."""

    name = "blocks"
    ops = ("DepthToSpace", "SpaceToDepth")

    def emit(self, call: Call) -> str:
        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        size = int(node.attributes["blocksize"])
        to_space = node.op == "DepthToSpace"
        deep, wide = ((x, "x0"), (y, "y0")) if to_space else ((y, "y0"), (x, "x0"))
        batch, channels, height, width = (wide[0].shape[0], wide[0].shape[1], *deep[0].shape[2:])
        # axes: sample, channel, row, row in the block, column, column in the block
        n, c, h, w = wide[0].strides
        spread = View(wide[1], (n, c, h * size, h, w * size, w))
        n, c, h, w = deep[0].strides
        if node.attributes.get("mode", "DCR") == "CRD":
            stacked = View(deep[1], (n, c * size * size, h, c * size, w, c))
        else:
            stacked = View(deep[1], (n, c, h, c * size * channels, w, c * channels))
        target, source = (spread, stacked) if to_space else (stacked, spread)
        return copy(target, source, (batch, channels, height, size, width, size))


class Expand(Kernel):
    """An array repeated along axes of length 1."""

    name = "expand"
    ops = ("Expand",)

    def emit(self, call: Call) -> str:
        x, y = call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        return copy(view(y, "y0"), broadcast(x, "x0", y.shape), y.shape)


class Concat(Kernel):
    """Each input copied to its part of the output."""

    name = "concat"
    ops = ("Concat",)

    def emit(self, call: Call) -> str:
        y = call.tensor(call.node.outputs[0])
        axis = int(call.node.attributes["axis"]) % len(y.shape)
        texts, start = [], 0
        for name in call.node.inputs:
            x = call.tensor(name)
            texts.append(copy(part(view(y, "y0"), axis, start), view(x, call.argument(name)), x.shape))
            start += x.shape[axis]
        return "\n".join(filter(None, texts))


class Split(Kernel):
    """Each output copied from its part of the input; the lengths are those of the outputs' shapes."""

    name = "split"
    ops = ("Split",)

    def refusal(self, node: Node, graph: Graph) -> str:
        return "" if all(node.outputs) else "an output without a name"

    def emit(self, call: Call) -> str:
        x = call.tensor(call.node.inputs[0])
        axis = int(call.node.attributes.get("axis", 0)) % len(x.shape)
        texts, start = [], 0
        for name in call.node.outputs:
            y = call.tensor(name)
            texts.append(copy(view(y, call.argument(name)), part(view(x, "x0"), axis, start), y.shape))
            start += y.shape[axis]
        return "\n".join(filter(None, texts))


class Slice(Kernel):
    """A part of the input by constant starts and steps, which may be negative."""

    name = "slice"
    ops = ("Slice",)

    def refusal(self, node: Node, graph: Graph) -> str:
        absent = [name for name in node.inputs[1:] if name and graph.constant(name) is None]
        return f"{absent[0]!r}, which is not constant" if absent else ""

    def emit(self, call: Call) -> str:
        node = call.node
        x, y = call.tensor(node.inputs[0]), call.tensor(node.outputs[0])
        if node.opset < 10:  # attributes then, and no steps
            starts, axes = ([int(n) for n in node.attributes.get(name, ())] for name in ("starts", "axes"))
            axes, steps = axes or list(range(len(starts))), [1] * len(starts)
        else:
            starts = _integers(call, 1)
            axes = _integers(call, 3) if node.input(3) else list(range(len(starts)))
            steps = _integers(call, 4) if node.input(4) else [1] * len(starts)
        source = view(x, "x0")
        for start, axis, step in zip(starts, axes, steps, strict=True):
            axis %= len(x.shape)
            length = x.shape[axis]
            start += length if start < 0 else 0
            start = min(max(start, 0), length if step > 0 else length - 1)
            source = part(source, axis, start, step)
        return copy(view(y, "y0"), source, y.shape)


def _integers(call: Call, index: int) -> list[int]:
    value = call.graph.constant(call.node.inputs[index])
    return [] if value is None else [int(n) for n in value.ravel()]
