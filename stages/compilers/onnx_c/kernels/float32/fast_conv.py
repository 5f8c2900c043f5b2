"""Convolutions in float by the fast kernels: direct, Winograd, depthwise and grouped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recast.stages.compilers.onnx_c.graph import Graph, Node, Tensor
from recast.stages.compilers.onnx_c.kernels import conv_choice, packing
from recast.stages.compilers.onnx_c.kernels.base import ANY, CHANNELS_LAST, Call, Kernel, Need, Needs
from recast.stages.compilers.onnx_c.kernels.conv_choice import ConvShape
from recast.stages.compilers.onnx_c.kernels.float32.fast_epilogue import fused, second_pass
from recast.stages.compilers.onnx_c.kernels.generic.windows import Windows, windows
from recast.stages.compilers.onnx_c.options import Options
from recast.stages.compilers.onnx_c.syntax.loops import loop

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
        return _FloatConv(call).text() + second_pass(call, fused(call.node, call.graph).rest)


class Conv:
    """A convolution while its C is written: what the kernels in float and in int8 share."""

    def __init__(self, call: Call, residual: str, prefix: str) -> None:
        """`residual`: the tensor that is added, "" for none; `prefix`: of the C types of images."""
        node, graph = call.node, call.graph
        self.call = call
        self.shape = one_row(conv_shape(node, graph), node, graph)
        self.weights, self.bias = weights_and_bias(node, graph)
        self.views = Views(call, residual, prefix)
        self._output = call.tensor(node.outputs[0])
        call.macs = self._output.size * self.shape.ic * self.shape.kernel[0] * self.shape.kernel[1]

    def image(self) -> str:
        """The C that convolves image `n` of the batch."""
        raise NotImplementedError

    def text(self) -> str:
        """The C for all images."""
        return loop("n", self._output.shape[0], self.image())


class _FloatConv(Conv):
    """With the residual and the activation that the kernels apply on the way."""

    def __init__(self, call: Call) -> None:
        steps = fused(call.node, call.graph)
        super().__init__(call, steps.residual, "rc_")
        self._activation = f"(rc_activation){steps.activation}"

    def image(self) -> str:
        call, shape, views = self.call, self.shape, self.views
        side = conv_choice.tile(shape, self.weights) if call.options.winograd else 0
        if shape.groups > 1 and not shape.depthwise:
            return self._grouped()
        if side:
            return self._winograd(side)
        kind = "depthwise" if shape.depthwise else "direct"
        call.include(f"{kind}_conv.h")
        packed = packing.depthwise(self.weights) if shape.depthwise else packing.direct(self.weights)
        constants = f"{call.weights(packed)}, {call.weights(packing.filled(self.bias, 8))}"
        return (
            f"rc_{kind}_conv((rc_conv_shape){shape.c}, {views.source()}, {constants}, {views.other()}, "
            f"{self._activation}, {views.target()});"
        )

    def _winograd(self, side: int) -> str:
        call, shape, views = self.call, self.shape, self.views
        call.include("winograd.h")
        block, positions, blocks = conv_choice.block(shape, side, 4), (side + 2) ** 2, -(-shape.oc // 8)
        packed = call.weights(packing.direct(self.weights, least=8))
        prepared = call.prepared("float", positions * shape.ic * blocks * 8)
        call.prepare(f"rc_winograd_weights({side}, {shape.ic}, {blocks}, {packed}, {prepared});")
        inputs = call.scratch("float", positions * (packing.up(shape.ic, 4) * block + 16))
        products = call.scratch("float", positions * (8 * block + 16))
        bias = call.weights(packing.filled(self.bias, 8))
        return (
            f"rc_winograd_conv({side}, {block}, (rc_conv_shape){shape.c}, {views.source()}, {prepared}, {bias}, "
            f"{views.other()}, {self._activation}, {views.target()}, {inputs}, {products});"
        )

    def _grouped(self) -> str:
        """A loop over the groups, each a direct convolution of a slice of the channels."""
        import numpy as np

        call, shape, views = self.call, self.shape, self.views
        call.include("direct_conv.h")
        packed = [packing.direct(group) for group in np.split(self.weights, shape.groups)]
        biases = [packing.filled(group, 8) for group in np.split(self.bias, shape.groups)]
        arguments = (
            f"{call.weights(np.concatenate(packed))} + g * {len(packed[0])}, "
            f"{call.weights(np.concatenate(biases))} + g * {len(biases[0])}"
        )
        step_in, step_out = f" + g * {shape.ic}", f" + g * {shape.oc}"
        text = (
            f"rc_direct_conv((rc_conv_shape){shape.c}, {views.source(step_in)}, {arguments}, {views.other(step_out)}, "
            f"{self._activation}, {views.target(step_out)});"
        )
        return loop("g", shape.groups, text)


class Views:
    """The C of the images a convolution reads and writes, at image `n` of the batch and from some channel on."""

    def __init__(self, call: Call, residual: str, prefix: str) -> None:
        """See `Conv`."""
        x, y = call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        self._x, self._y, self._prefix = (x, call.argument(x.name)), (y, "y0"), prefix
        self._residual = (call.tensor(residual), call.argument(residual)) if residual else None
        before = conv_windows(call.node, call.graph).before
        before = before if len(before) == 2 else (0, *before)
        row, px = _strides(x)
        self._back = before[0] * row + before[1] * px

    def source(self, channel: str = "") -> str:
        """The input, from the padding on."""
        back = f" - {self._back}" if self._back else ""
        return self._view("source", *self._x, back + channel)

    def other(self, channel: str = "") -> str:
        """The residual, or an empty view."""
        if self._residual is None:
            return f"({self._prefix}source){{0, 0, 0}}"
        return self._view("source", *self._residual, channel)

    def target(self, channel: str = "") -> str:
        return self._view("target", *self._y, channel)

    def _view(self, kind: str, tensor: Tensor, pointer: str, rest: str) -> str:
        row, px = _strides(tensor)
        return f"({self._prefix}{kind}){{{pointer} + n * {tensor.strides[0]}{rest}, {row}, {px}}}"


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
