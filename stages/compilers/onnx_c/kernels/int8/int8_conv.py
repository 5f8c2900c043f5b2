"""Quantized convolutions by the fast kernels: direct, exact Winograd, depthwise and grouped."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels import conv_choice, packing
from recast.stages.compilers.onnx_c.kernels.base import ANY, CHANNELS_LAST, Call, Kernel, Need, Needs
from recast.stages.compilers.onnx_c.kernels.float32.fast_conv import Conv, conv_windows
from recast.stages.compilers.onnx_c.syntax.expressions import number
from recast.stages.compilers.onnx_c.syntax.loops import loop

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
        return _QuantizedConv(call).text()


def requantization(node: Node, scales: str) -> str:
    """The C of an `rc_requantization` with the bounds and factors of a quantized node."""
    low, high = node.attributes["low"], node.attributes["high"]
    own, other = (number(node.attributes.get(name, 1.0)) for name in ("own", "other"))
    last = (node.attributes.get("sum_low", low), node.attributes.get("sum_high", high))
    return f"(rc_requantization){{{scales}, {low}, {high}, {own}, {other}, {last[0]}, {last[1]}}}"


class _QuantizedConv(Conv):
    """With the factor of each output channel from sums to outputs."""

    def __init__(self, call: Call) -> None:
        super().__init__(call, call.node.input(RESIDUAL), "rc_int8_")
        scale = call.graph.constant(call.node.inputs[3])
        assert scale is not None
        self._scale = scale

    def image(self) -> str:
        call, shape = self.call, self.shape
        if shape.groups > 1 and not shape.depthwise:
            return self._grouped()
        if shape.depthwise:
            call.include("int8_depthwise_conv.h")
            return self._called("rc_int8_depthwise_conv(", call.weights(packing.int8_depthwise(self.weights)))
        if call.options.winograd and conv_choice.int8_winograd(shape, self.weights):
            return self._winograd()
        call.include("int8_conv.h")
        by_row = shape.dilation[1] == 1 and call.tensor(call.node.inputs[0]).shape[1] == shape.ic
        return self._called("rc_int8_conv(", call.weights(packing.int8_direct(self.weights, by_row)))

    def _called(self, begin: str, packed: str, *scratch: str) -> str:
        """The call of a kernel: `begin` is its name, and what stands before the shape."""
        call, views = self.call, self.views
        b, m = (call.weights(packing.filled(values, 8)) for values in (self.bias, self._scale))
        head = f"{begin}(rc_conv_shape){self.shape.c}, {views.source()}, {packed}, {b}, {views.other()}"
        return f"{head}, {', '.join((requantization(call.node, m), views.target(), *scratch))});"

    def _winograd(self) -> str:
        call, shape = self.call, self.shape
        call.include("int8_winograd.h")
        block, blocks = conv_choice.block(shape, 2, 2), -(-shape.oc // 8)
        packed = call.weights(packing.int8_direct(self.weights, by_row=False, least=8))
        prepared = call.prepared("int16_t", 16 * packing.up(shape.ic, 2) * blocks * 8)
        call.prepare(f"rc_int8_winograd_weights({shape.ic}, {blocks}, {packed}, {prepared});")
        inputs = call.scratch("int16_t", 16 * (packing.up(shape.ic, 8) * block + 32))
        products = call.scratch("int32_t", 16 * (8 * block + 16))
        return self._called(f"rc_int8_winograd_conv({block}, ", prepared, inputs, products)

    def _grouped(self) -> str:
        """A loop over the groups, each a direct convolution of a slice of the channels."""
        import numpy as np

        call, shape, views = self.call, self.shape, self.views
        call.include("int8_conv.h")
        packed = [packing.int8_direct(group, by_row=False) for group in np.split(self.weights, shape.groups)]
        b, m = (
            call.weights(np.concatenate([packing.filled(group, 8) for group in np.split(values, shape.groups)]))
            for values in (self.bias, self._scale)
        )
        step, step_in, step_out = packing.up(shape.oc, 8), f" + g * {shape.ic}", f" + g * {shape.oc}"
        text = (
            f"rc_int8_conv((rc_conv_shape){shape.c}, {views.source(step_in)}, "
            f"{call.weights(np.concatenate(packed))} + g * {len(packed[0])}, {b} + g * {step}, "
            f"{views.other(step_out)}, {requantization(call.node, f'{m} + g * {step}')}, {views.target(step_out)});"
        )
        return loop("g", shape.groups, text)
