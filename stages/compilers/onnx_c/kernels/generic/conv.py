"""Conv for any number of axes, group, stride, dilation, padding and channel count."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import ANY, CHANNELS_LAST, Call, Kernel, Needs
from recast.stages.compilers.onnx_c.kernels.epilogue import finish
from recast.stages.compilers.onnx_c.kernels.generic.windows import inside, place, windows
from recast.stages.compilers.onnx_c.syntax.loops import indent, loop, nest, sum_of, term, view


class Conv(Kernel):
    """Per window and group, a row of accumulators over the group's output channels, which compilers vectorise.

    Constant weights are packed [group][taps][in channels][out channels]; others are read where they lie.
    """

    name = "conv"
    ops = ("Conv",)

    def refusal(self, node: Node, graph: Graph) -> str:
        dtype = graph.tensors[node.inputs[0]].dtype
        return "" if dtype == "float32" else f"{dtype} (supported: float32)"

    def needs(self, node: Node, graph: Graph) -> Needs:
        operands = tuple(ANY for step in node.epilogue if step.operand)
        return Needs((CHANNELS_LAST, *(ANY,) * (len(node.inputs) - 1)), (CHANNELS_LAST,), operands)

    def emit(self, call: Call) -> str:
        import numpy as np

        node = call.node
        x, weight, y = (call.tensor(name) for name in (*node.inputs[:2], node.outputs[0]))
        groups = int(node.attributes.get("group", 1))
        out_channels, in_channels = weight.shape[0] // groups, weight.shape[1]
        kernel, rank = weight.shape[2:], len(weight.shape) - 2
        w = windows(node, kernel, x.shape[2:], y.shape[2:])
        call.macs = y.size * in_channels * int(np.prod(kernel))
        taps, outs, places = ([f"{letter}{axis}" for axis in range(rank)] for letter in "kop")
        if weight.value is not None:
            packed = weight.value.reshape(groups, out_channels, in_channels, *kernel)
            pointer = call.weights(np.ascontiguousarray(np.moveaxis(packed, [1, 2], [-1, -2])))
            steps = [in_channels * out_channels * int(np.prod(kernel[axis + 1 :])) for axis in range(rank)]
            index = [term("g", in_channels * out_channels * int(np.prod(kernel))), term("c", out_channels), "f"]
        else:
            pointer = call.argument(weight.name)
            strides, steps = weight.strides, list(weight.strides[2:])
            index = [term("g", out_channels * strides[0]), term("f", strides[0]), term("c", strides[1])]
        index += [term(tap, step) for tap, step in zip(taps, steps, strict=True)]
        source = view(x, call.argument(x.name))
        channel = sum_of([term("g", in_channels), "c"])
        body = f"acc[f] += value * {pointer}[{sum_of(index)}];"
        body = f"const float value = {source.at(['n', channel, *places])};\n{loop('f', out_channels, body)}"
        body = loop("c", in_channels, body)
        for axis in reversed(range(rank)):
            condition = inside(w, axis, places[axis])
            head = f"const int {places[axis]} = {place(w, axis, outs[axis], taps[axis])};\n"
            body = head + (f"if ({condition}) {{\n{indent(body)}\n}}" if condition else body)
            body = loop(taps[axis], kernel[axis], body)
        return accumulate(call, groups, outs, body)


def accumulate(call: Call, groups: int, outs: list[str], body: str) -> str:
    """Loops over samples, places `outs` and groups `g`: set acc[f] to the bias, run `body`, store acc[f]."""
    y = call.tensor(call.node.outputs[0])
    out_channels = y.shape[1] // groups
    row = sum_of([term("g", out_channels), "f"])
    bias = call.node.input(2)
    start = view(call.tensor(bias), call.argument(bias)).at([row]) if bias else "0.0f"
    place = ["n", row, *outs]
    store = ["float v = acc[f];", *finish(call, "v", place, y.shape), f"{view(y, 'y0').at(place)} = v;"]
    text = call.accumulators(out_channels) + loop("f", out_channels, f"acc[f] = {start};") + "\n" + body
    text += "\n" + loop("f", out_channels, "\n".join(store))
    return nest(["n", *outs, "g"], [y.shape[0], *y.shape[2:], groups], text)
