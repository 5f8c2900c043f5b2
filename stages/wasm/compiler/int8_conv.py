"""Quantized convolutions by the fast kernels: direct, exact Winograd, depthwise and grouped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.wasm.compiler import conv_choice, packing
from stages.wasm.compiler.conv_choice import ConvShape
from stages.wasm.compiler.expressions import number
from stages.wasm.compiler.fast_conv import Views, conv_shape, conv_windows, one_row, weights_and_bias
from stages.wasm.compiler.graph import Graph, Node
from stages.wasm.compiler.kernel import ANY, CHANNELS_LAST, Call, Kernel, Need, Needs
from stages.wasm.compiler.loops import loop

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESIDUAL = 4
"""the place of a QConv's residual among its inputs"""


class QConv(Kernel):
    """A quantized Conv, with the quantized Add that follows it if that has been merged into it."""

    name = "int8_conv"
    ops = ("QConv",)

    def needs(self, node: Node, graph: Graph) -> Needs:
        residual = (CHANNELS_LAST,) * (len(node.inputs) - RESIDUAL)
        pads = conv_windows(node, graph).pads
        return Needs((Need("channels_last", pads), ANY, ANY, ANY, *residual), (CHANNELS_LAST,))

    def emit(self, call: Call) -> str:
        node, graph = call.node, call.graph
        shape, (weights, bias) = one_row(conv_shape(node, graph), node, graph), weights_and_bias(node, graph)
        x, y = call.tensor(node.inputs[0]), call.tensor(node.outputs[0])
        call.macs = y.size * shape.ic * shape.kernel[0] * shape.kernel[1]
        views = Views(call, x, y, node.input(RESIDUAL), conv_windows(node, graph), "rc_int8_source", "rc_int8_target")
        scale = graph.constant(node.inputs[3])
        assert scale is not None
        if shape.groups > 1 and not shape.depthwise:
            text = _grouped(call, shape, weights, bias, scale, views)
        elif shape.depthwise:
            call.include("int8_depthwise_conv.h")
            packed = call.weights(packing.int8_depthwise(weights))
            text = _text(call, "rc_int8_depthwise_conv", shape, packed, bias, scale, views)
        elif call.options.winograd and conv_choice.int8_winograd(shape, weights):
            text = _winograd(call, shape, weights, bias, scale, views)
        else:
            call.include("int8_conv.h")
            by_row = shape.dilation[1] == 1 and x.shape[1] == shape.ic
            packed = call.weights(packing.int8_direct(weights, by_row))
            text = _text(call, "rc_int8_conv", shape, packed, bias, scale, views)
        return loop("n", y.shape[0], text)


def requantization(node: Node, scales: str) -> str:
    """The C of an `rc_requantization` with the bounds and factors of a quantized node."""
    low, high = node.attributes["low"], node.attributes["high"]
    own, other = (number(node.attributes.get(name, 1.0)) for name in ("own", "other"))
    last = (node.attributes.get("sum_low", low), node.attributes.get("sum_high", high))
    return f"(rc_requantization){{{scales}, {low}, {high}, {own}, {other}, {last[0]}, {last[1]}}}"


def _text(
    call: Call,
    function: str,
    shape: ConvShape,
    packed: str,
    bias: NDArray[Any],
    scale: NDArray[Any],
    views: Views,
    scratch: str = "",
) -> str:
    b, m = (call.weights(packing.filled(values, 8)) for values in (bias, scale))
    head = f"{function}((rc_conv_shape){shape.c}, {views.source()}, {packed}, {b}, {views.other()}"
    return f"{head}, {requantization(call.node, m)}, {views.target()}{scratch});"


def _winograd(
    call: Call, shape: ConvShape, weights: NDArray[Any], bias: NDArray[Any], scale: NDArray[Any], views: Views
) -> str:
    call.include("int8_winograd.h")
    block, blocks = conv_choice.block(shape, 2, 2), -(-shape.oc // 8)
    packed = call.weights(packing.int8_direct(weights, by_row=False, least=8))
    prepared = call.prepared("int16_t", 16 * packing.up(shape.ic, 2) * blocks * 8)
    call.prepare(f"rc_int8_winograd_weights({shape.ic}, {blocks}, {packed}, {prepared});")
    inputs = call.scratch("int16_t", 16 * (packing.up(shape.ic, 8) * block + 32))
    products = call.scratch("int32_t", 16 * (8 * block + 16))
    text = _text(call, "rc_int8_winograd_conv", shape, prepared, bias, scale, views, f", {inputs}, {products}")
    return text.replace("rc_int8_winograd_conv(", f"rc_int8_winograd_conv({block}, ", 1)


def _grouped(
    call: Call, shape: ConvShape, weights: NDArray[Any], bias: NDArray[Any], scale: NDArray[Any], views: Views
) -> str:
    """A loop over the groups, each a direct convolution of a slice of the channels."""
    import numpy as np

    call.include("int8_conv.h")
    packed = [packing.int8_direct(group, by_row=False) for group in np.split(weights, shape.groups)]
    b, m = (
        call.weights(np.concatenate([packing.filled(group, 8) for group in np.split(values, shape.groups)]))
        for values in (bias, scale)
    )
    step, step_in, step_out = packing.up(shape.oc, 8), f" + g * {shape.ic}", f" + g * {shape.oc}"
    text = (
        f"rc_int8_conv((rc_conv_shape){shape.c}, {views.source(step_in)}, "
        f"{call.weights(np.concatenate(packed))} + g * {len(packed[0])}, {b} + g * {step}, {views.other(step_out)}, "
        f"{requantization(call.node, f'{m} + g * {step}')}, {views.target(step_out)});"
    )
    return loop("g", shape.groups, text)
