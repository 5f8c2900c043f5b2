"""Convolutions in float by the fast kernels: direct, Winograd, depthwise and grouped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stages.wasm.compiler import conv_choice, packing
from stages.wasm.compiler.conv_choice import ConvShape
from stages.wasm.compiler.fast_epilogue import fused, second_pass
from stages.wasm.compiler.generic.windows import Windows, windows
from stages.wasm.compiler.graph import Graph, Node, Tensor
from stages.wasm.compiler.kernel import ANY, CHANNELS_LAST, Call, Kernel, Need, Needs
from stages.wasm.compiler.loops import loop
from stages.wasm.compiler.options import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FastConv(Kernel):
    """Two-dimensional (or one-dimensional) Conv with constant weights, over channels that lie together."""

    name = "fast_conv"
    ops = ("Conv",)

    def matches(self, node: Node, graph: Graph, options: Options) -> bool:
        if node.op not in self.ops or any(graph.constant(name) is None for name in node.inputs[1:] if name):
            return False
        x = graph.tensors[node.inputs[0]]
        return x.dtype == "float32" and len(x.shape) in (3, 4)

    def needs(self, node: Node, graph: Graph) -> Needs:
        pads = conv_windows(node, graph).pads
        constants = (ANY,) * (len(node.inputs) - 1)
        operands = fused(node, graph).operands(CHANNELS_LAST)
        return Needs((Need("channels_last", pads), *constants), (CHANNELS_LAST,), operands)

    def emit(self, call: Call) -> str:
        node, graph = call.node, call.graph
        w, shape = conv_windows(node, graph), one_row(conv_shape(node, graph), node, graph)
        weights, bias = weights_and_bias(node, graph)
        x, y = call.tensor(node.inputs[0]), call.tensor(node.outputs[0])
        call.macs = y.size * shape.ic * shape.kernel[0] * shape.kernel[1]
        steps = fused(node, graph)
        views = Views(call, x, y, steps.residual, w, "rc_source", "rc_target")
        tail = f"(rc_activation){steps.activation}"
        side = conv_choice.tile(shape, weights) if call.options.winograd else 0
        if shape.groups > 1 and not shape.depthwise:
            text = _grouped(call, shape, weights, bias, views, tail)
        elif side:
            text = _winograd(call, shape, side, weights, bias, views, tail)
        else:
            kind = "depthwise" if shape.depthwise else "direct"
            call.include(f"{kind}_conv.h")
            packed = packing.depthwise(weights) if shape.depthwise else packing.direct(weights)
            constants = f"{call.weights(packed)}, {call.weights(packing.filled(bias, 8))}"
            text = (
                f"rc_{kind}_conv((rc_conv_shape){shape.c}, {views.source()}, {constants}, {views.other()}, {tail}, "
                f"{views.target()});"
            )
        return loop("n", y.shape[0], text) + second_pass(call, steps.rest)


class Views:
    """The C of the images a convolution reads and writes, at image `n` of the batch and from some channel on."""

    def __init__(self, call: Call, x: Tensor, y: Tensor, residual: str, w: Windows, source: str, target: str) -> None:
        self._x, self._y, self._kinds = (x, call.argument(x.name)), (y, "y0"), (source, target)
        self._residual = (call.tensor(residual), call.argument(residual)) if residual else None
        before = w.before if len(w.before) == 2 else (0, *w.before)
        row, px = _strides(x)
        self._back = before[0] * row + before[1] * px

    def source(self, channel: str = "") -> str:
        """The input, from the padding on."""
        back = f" - {self._back}" if self._back else ""
        return self._view(self._kinds[0], *self._x, back + channel)

    def other(self, channel: str = "") -> str:
        """The residual, or an empty view."""
        return (
            self._view(self._kinds[0], *self._residual, channel) if self._residual else f"({self._kinds[0]}){{0, 0, 0}}"
        )

    def target(self, channel: str = "") -> str:
        return self._view(self._kinds[1], *self._y, channel)

    @staticmethod
    def _view(kind: str, tensor: Tensor, pointer: str, rest: str) -> str:
        row, px = _strides(tensor)
        return f"({kind}){{{pointer} + n * {tensor.strides[0]}{rest}, {row}, {px}}}"


def _strides(tensor: Tensor) -> tuple[int, int]:
    """From row to row and from pixel to pixel; a tensor of one spatial axis is one row."""
    return (0, tensor.strides[2]) if len(tensor.shape) == 3 else (tensor.strides[2], tensor.strides[3])


def conv_windows(node: Node, graph: Graph) -> Windows:
    """The windows of a Conv with weights as its second input."""
    kernel = graph.tensors[node.inputs[1]].shape[2:]
    return windows(node, kernel, graph.tensors[node.inputs[0]].shape[2:], graph.tensors[node.outputs[0]].shape[2:])


def conv_shape(node: Node, graph: Graph) -> ConvShape:
    """The shape of one group; an image of one spatial axis has one row."""
    w, groups = conv_windows(node, graph), int(node.attributes.get("group", 1))
    out_channels, in_channels = graph.tensors[node.inputs[1]].shape[:2]

    def two(values: tuple[int, ...]) -> tuple[int, int]:
        return (1, values[0]) if len(values) == 1 else (values[0], values[1])

    return ConvShape(
        in_channels, out_channels // groups, two(w.kernel), two(w.strides), two(w.dilations), two(w.output), groups
    )


def one_row(shape: ConvShape, node: Node, graph: Graph) -> ConvShape:
    """A 1x1 convolution of images without gaps between rows, as one of a single long row: fewer tiles are cut short."""
    if shape.kernel != (1, 1) or shape.stride != (1, 1) or any(conv_windows(node, graph).pads):
        return shape
    images = [graph.tensors[name] for name in (*node.reads, *node.outputs) if name]
    # of equal size: the residual, if there is one, and not the weights
    images = [
        each for each in images if each.value is None and each.shape[2:] == graph.tensors[node.outputs[0]].shape[2:]
    ]
    if any(_strides(each)[0] != each.shape[-1] * _strides(each)[1] for each in images if len(each.shape) == 4):
        return shape
    return replace(shape, output=(1, shape.output[0] * shape.output[1]))


def weights_and_bias(node: Node, graph: Graph) -> tuple[NDArray[Any], NDArray[Any]]:
    """Constant weights (oc, ic, kh, kw) and bias (oc), zeros if there is none."""
    import numpy as np

    weights = graph.constant(node.inputs[1])
    assert weights is not None
    bias = graph.constant(node.input(2))
    four = weights[:, :, None, :] if weights.ndim == 3 else weights
    return four, np.zeros(len(weights), weights.dtype) if bias is None else bias


def _winograd(
    call: Call, shape: ConvShape, side: int, weights: NDArray[Any], bias: NDArray[Any], views: Views, tail: str
) -> str:
    call.include("winograd.h")
    block, positions, blocks = conv_choice.block(shape, side, 4), (side + 2) ** 2, -(-shape.oc // 8)
    packed = call.weights(packing.direct(weights, least=8))
    prepared = call.prepared("float", positions * shape.ic * blocks * 8)
    call.prepare(f"rc_winograd_weights({side}, {shape.ic}, {blocks}, {packed}, {prepared});")
    inputs = call.scratch("float", positions * (packing.up(shape.ic, 4) * block + 16))
    products = call.scratch("float", positions * (8 * block + 16))
    return (
        f"rc_winograd_conv({side}, {block}, (rc_conv_shape){shape.c}, {views.source()}, {prepared}, "
        f"{call.weights(packing.filled(bias, 8))}, {views.other()}, {tail}, {views.target()}, {inputs}, {products});"
    )


def _grouped(call: Call, shape: ConvShape, weights: NDArray[Any], bias: NDArray[Any], views: Views, tail: str) -> str:
    """A loop over the groups, each a direct convolution of a slice of the channels."""
    import numpy as np

    call.include("direct_conv.h")
    packed = [packing.direct(group) for group in np.split(weights, shape.groups)]
    biases = [packing.filled(group, 8) for group in np.split(bias, shape.groups)]
    arguments = (
        f"{call.weights(np.concatenate(packed))} + g * {len(packed[0])}, "
        f"{call.weights(np.concatenate(biases))} + g * {len(biases[0])}"
    )
    step_in, step_out = f" + g * {shape.ic}", f" + g * {shape.oc}"
    text = (
        f"rc_direct_conv((rc_conv_shape){shape.c}, {views.source(step_in)}, {arguments}, {views.other(step_out)}, "
        f"{tail}, {views.target(step_out)});"
    )
    return loop("g", shape.groups, text)
