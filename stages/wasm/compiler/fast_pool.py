"""Pooling of images in float, and their mean, by the fast kernels."""

from __future__ import annotations

from dataclasses import dataclass

from stages.wasm.compiler.fast_epilogue import second_pass
from stages.wasm.compiler.generic.windows import windows
from stages.wasm.compiler.graph import Graph, Node
from stages.wasm.compiler.kernel import ANY, CHANNELS_LAST, Call, Kernel, Needs
from stages.wasm.compiler.loops import loop
from stages.wasm.compiler.options import Options


@dataclass(frozen=True)
class Pooling:
    """Pooling of one image, as pooling.h has it; `before` is the padding above and to the left."""

    kind: str
    channels: int
    input: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    output: tuple[int, ...]

    @property
    def c(self) -> str:
        """The initialiser of an `rc_pool_shape`."""
        pairs = (self.input, self.kernel, self.stride, self.dilation, self.before, self.output)
        return f"{{{self.channels}, {', '.join(str(number) for pair in pairs for number in pair)}}}"


class FastPool(Kernel):
    """MaxPool, AveragePool, the global pools, and ReduceMean over rows and columns, of images."""

    name = "fast_pool"
    ops = ("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "ReduceMean")

    def matches(self, node: Node, graph: Graph, options: Options) -> bool:
        if node.op not in self.ops or graph.tensors[node.inputs[0]].dtype != "float32":
            return False
        return pooling(node, graph) is not None

    def needs(self, node: Node, graph: Graph) -> Needs:
        operands = tuple(ANY for step in node.epilogue if step.operand)
        return Needs((CHANNELS_LAST, *(ANY,) * (len(node.inputs) - 1)), (CHANNELS_LAST,), operands)

    def emit(self, call: Call) -> str:
        node, shape = call.node, pooling(call.node, call.graph)
        assert shape is not None
        call.include("pooling.h")
        x, y = call.tensor(node.inputs[0]), call.tensor(node.outputs[0])
        source = f"(rc_source){{{call.argument(x.name)} + n * {x.strides[0]}, {x.strides[2]}, {x.strides[3]}}}"
        target = f"(rc_target){{y0 + n * {y.strides[0]}, {', '.join(map(str, target_strides(y.strides)))}}}"
        text = f"rc_pool((rc_pool_shape){shape.c}, {shape.kind}, {source}, {target});"
        return loop("n", y.shape[0], text) + second_pass(call, tuple(node.epilogue))


def target_strides(strides: tuple[int, ...]) -> tuple[int, int]:
    """From row to row and pixel to pixel; an output without rows and columns has one pixel."""
    return (strides[2], strides[3]) if len(strides) == 4 else (0, 0)


def pooling(node: Node, graph: Graph) -> Pooling | None:
    """The shape of a pool over images; None for what the kernel does not compute."""
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if len(x.shape) != 4 or len([name for name in node.outputs if name]) != 1:
        return None
    whole = (1, 1), (1, 1), (0, 0), (1, 1)
    if node.op.startswith("Global"):
        kind = "RC_MAX_POOL" if node.op == "GlobalMaxPool" else "RC_AVERAGE_OF_IMAGE"
        return Pooling(kind, x.shape[1], x.shape[2:], x.shape[2:], *whole)
    if node.op == "ReduceMean":
        over = _axes(node, graph)
        return Pooling("RC_AVERAGE_OF_IMAGE", x.shape[1], x.shape[2:], x.shape[2:], *whole) if over == [2, 3] else None
    kernel = tuple(node.attributes["kernel_shape"])
    w = windows(node, kernel, x.shape[2:], y.shape[2:])
    kind = "RC_MAX_POOL" if node.op == "MaxPool" else "RC_AVERAGE_OF_IMAGE"
    if node.op == "AveragePool" and node.attributes.get("count_include_pad", 0) and any(w.pads):
        kind = "RC_AVERAGE_OF_WINDOW"
        if node.attributes.get("ceil_mode", 0):
            return None  # a window may reach beyond the padding, which does not count
    return Pooling(kind, x.shape[1], x.shape[2:], kernel, w.strides, w.dilations, w.before, w.output)


def _axes(node: Node, graph: Graph) -> list[int]:
    """The axes a reduction of an image goes over, counted from the front; none given is all."""
    given = node.attributes.get("axes")
    if node.input(1):
        constant = graph.constant(node.input(1))
        given = [-1] if constant is None else constant.tolist()
    return sorted(axis % 4 for axis in given) if given else []
