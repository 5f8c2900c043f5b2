"""ConvTranspose for any axes, group, stride, dilation and padding: an output gathers the taps that reach it."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Node, Tensor
from recast.stages.compilers.onnx_c.kernels.base import Call
from recast.stages.compilers.onnx_c.kernels.generic.conv import Conv, accumulate
from recast.stages.compilers.onnx_c.syntax.loops import indent, loop, sum_of, term, view


class ConvTranspose(Conv):
    """As the generic Conv, with its needs: a row of accumulators over the group's output channels."""

    name = "conv_transpose"
    ops = ("ConvTranspose",)

    def emit(self, call: Call) -> str:
        import numpy as np

        node = call.node
        x, weight, y = (call.tensor(name) for name in (*node.inputs[:2], node.outputs[0]))
        groups = int(node.attributes.get("group", 1))
        in_channels, out_channels = weight.shape[0] // groups, weight.shape[1]
        kernel, rank = weight.shape[2:], len(weight.shape) - 2
        strides = node.attributes.get("strides", [1] * rank)
        dilations = node.attributes.get("dilations", [1] * rank)
        before = _pads_before(node, x, y, kernel)
        call.macs = x.size * out_channels * int(np.prod(kernel))
        taps, outs, places = ([f"{letter}{axis}" for axis in range(rank)] for letter in "kop")
        if weight.value is not None:
            packed = weight.value.reshape(groups, in_channels, out_channels, *kernel)
            pointer = call.weights(np.ascontiguousarray(np.moveaxis(packed, [1, 2], [-2, -1])))
            steps = [in_channels * out_channels * int(np.prod(kernel[axis + 1 :])) for axis in range(rank)]
            index = [term("g", in_channels * out_channels * int(np.prod(kernel))), term("c", out_channels), "f"]
        else:
            pointer = call.argument(weight.name)
            steps = list(weight.strides[2:])
            index = [
                term("g", in_channels * weight.strides[0]),
                term("c", weight.strides[0]),
                term("f", weight.strides[1]),
            ]
        index += [term(tap, step) for tap, step in zip(taps, steps, strict=True)]
        source = view(x, call.argument(x.name))
        channel = sum_of([term("g", in_channels), "c"])
        body = loop("f", out_channels, f"acc[f] += value * {pointer}[{sum_of(index)}];")
        body = loop("c", in_channels, f"const float value = {source.at(['n', channel, *places])};\n{body}")
        for axis in reversed(range(rank)):
            whole = sum_of([outs[axis], f"-{taps[axis]} * {dilations[axis]}"], before[axis]).replace("+ -", "- ")
            condition = f"{places[axis]} >= 0 && {places[axis]} < {x.shape[2 + axis]}"
            head = f"int {places[axis]} = {whole};\n"
            if strides[axis] > 1:
                condition = f"r{axis} == 0 && {condition}"
                head += f"const int r{axis} = {places[axis]} % {strides[axis]};\n{places[axis]} /= {strides[axis]};\n"
            body = loop(taps[axis], kernel[axis], f"{head}if ({condition}) {{\n{indent(body)}\n}}")
        return accumulate(call, groups, outs, body)


def _pads_before(node: Node, x: Tensor, y: Tensor, kernel: tuple[int, ...]) -> list[int]:
    """The padding at the start of each axis; from the output's shape where the node gives that instead."""
    rank = len(kernel)
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode == "VALID":
        return [0] * rank
    if mode == "NOTSET" and "output_shape" not in node.attributes:
        return list(node.attributes.get("pads", [0] * 2 * rank))[:rank]
    strides = node.attributes.get("strides", [1] * rank)
    dilations = node.attributes.get("dilations", [1] * rank)
    extra = node.attributes.get("output_padding", [0] * rank)
    before = []
    for axis in range(rank):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        total = strides[axis] * (x.shape[2 + axis] - 1) + extra[axis] + reach - y.shape[2 + axis]
        total = max(0, total)
        before.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
    return before
