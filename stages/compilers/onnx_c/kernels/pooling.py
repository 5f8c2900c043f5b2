"""Pools over images whose channels lie last: what the fast kernels in float and in int8 share."""

from __future__ import annotations

from dataclasses import dataclass

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import ANY, CHANNELS_LAST, Call, Kernel, Needs
from recast.stages.compilers.onnx_c.kernels.generic.windows import Windows, pool_windows, whole
from recast.stages.compilers.onnx_c.syntax.loops import loop


@dataclass(frozen=True)
class Pooling:
    """Pooling of one image, as pooling.h has it."""

    kind: str
    channels: int
    windows: Windows

    @property
    def c(self) -> str:
        """The initialiser of an `rc_pool_shape`."""
        w = self.windows
        pairs = (w.lengths, w.kernel, w.strides, w.dilations, w.before, w.output)
        return f"{{{self.channels}, {', '.join(str(number) for pair in pairs for number in pair)}}}"


class ImagePool(Kernel):
    """A kernel over images: the C functions in float and in int8 differ in their types, and in what else they take."""

    header = ""
    function = ""
    views = ("", "")
    """C types of the image that is read and of the one that is written"""

    def needs(self, node: Node, graph: Graph) -> Needs:
        operands = tuple(ANY for step in node.epilogue if step.operand)
        return Needs((CHANNELS_LAST, *(ANY,) * (len(node.inputs) - 1)), (CHANNELS_LAST,), operands)

    def over_batch(self, call: Call, shape: Pooling, *arguments: str) -> str:
        """The loop that calls the function for each image; `arguments` stand between source and target."""
        call.include(self.header)
        x, y = call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        # an output without rows and columns has one pixel
        row, px = y.strides[2:] if len(y.strides) == 4 else (0, 0)
        source = f"({self.views[0]}){{{call.argument(x.name)} + n * {x.strides[0]}, {x.strides[2]}, {x.strides[3]}}}"
        target = f"({self.views[1]}){{y0 + n * {y.strides[0]}, {row}, {px}}}"
        given = ", ".join((f"(rc_pool_shape){shape.c}", shape.kind, source, *arguments, target))
        return loop("n", y.shape[0], f"{self.function}({given});")


def pooling(op: str, node: Node, graph: Graph) -> Pooling | None:
    """The shape of a node that computes the pool `op` over images; None for what the kernels do not compute."""
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if len(x.shape) != 4 or len([name for name in node.outputs if name]) != 1:
        return None
    if op == "ReduceMean":
        over = _axes(node, graph)
        return Pooling("RC_AVERAGE_OF_IMAGE", x.shape[1], whole(x.shape[2:])) if over == [2, 3] else None
    w = pool_windows(op, node, x.shape[2:], y.shape[2:])
    kind = "RC_MAX_POOL" if "Max" in op else "RC_AVERAGE_OF_IMAGE"
    if op == "AveragePool" and node.attributes.get("count_include_pad", 0) and any(w.pads):
        kind = "RC_AVERAGE_OF_WINDOW"
        if node.attributes.get("ceil_mode", 0):
            return None  # a window may reach beyond the padding, which does not count
    return Pooling(kind, x.shape[1], w)


def _axes(node: Node, graph: Graph) -> list[int]:
    """The axes a reduction of an image goes over, counted from the front; none given is all."""
    given = node.attributes.get("axes")
    if node.input(1):
        constant = graph.constant(node.input(1))
        given = [-1] if constant is None else constant.tolist()
    return sorted(axis % 4 for axis in given) if given else []
