"""MaxPool and AveragePool for any number of axes, and the global pools."""

from __future__ import annotations

from math import prod

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel
from recast.stages.compilers.onnx_c.kernels.epilogue import finish
from recast.stages.compilers.onnx_c.kernels.generic.windows import Windows, inside, place, pool_windows
from recast.stages.compilers.onnx_c.syntax.expressions import number
from recast.stages.compilers.onnx_c.syntax.loops import indent, loop, nest, view


class Pool(Kernel):
    """A window per output element; taps outside the input are skipped, and counted only if the node says so."""

    name = "pool"
    ops = ("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool")

    def refusal(self, node: Node, graph: Graph) -> str:
        dtype = graph.tensors[node.inputs[0]].dtype
        if dtype != "float32" and (node.op != "MaxPool" or dtype not in ("int8", "uint8")):
            return f"{dtype} (supported: float32; int8 and uint8 for MaxPool)"
        if len(node.outputs) > 1:
            return "the output Indices"
        return ""

    def emit(self, call: Call) -> str:
        node = call.node
        x, y = call.tensor(node.inputs[0]), call.tensor(node.outputs[0])
        rank = len(x.shape) - 2
        w = pool_windows(node.op, node, x.shape[2:], y.shape[2:])
        taps, outs, places = ([f"{letter}{axis}" for axis in range(rank)] for letter in "kop")
        element = view(x, "x0").at(["n", "c", *places])
        largest = "Max" in node.op
        include = bool(node.attributes.get("count_include_pad", 0))
        constant = None if largest else _constant_count(w, include)
        counted = not largest and constant is None
        body = f"const {x.c_type} value = {element};\n"
        nan = " || value != value" if x.dtype == "float32" else ""
        body += f"if (value > v{nan}) v = value;" if largest else "v += value;"
        if counted and not include:
            body += "\ncount += 1;"
        within = " && ".join(filter(None, (inside(w, axis, places[axis]) for axis in range(rank))))
        body = f"if ({within}) {{\n{indent(body)}\n}}" if within else body
        if counted and include:
            padded = " && ".join(filter(None, (_inside_padding(w, axis, places[axis]) for axis in range(rank))))
            body = (f"if ({padded}) count += 1;\n" if padded else "count += 1;\n") + body
        for axis in reversed(range(rank)):
            body = f"const int {places[axis]} = {place(w, axis, outs[axis], taps[axis])};\n{body}"
            body = loop(taps[axis], w.kernel[axis], body)
        lowest = {"float32": "-INFINITY", "int8": "INT8_MIN", "uint8": "0"}[x.dtype]
        text = f"{x.c_type} v = {lowest if largest else '0.0f'};\n"
        text += "int count = 0;\n" if counted else ""
        text += body + "\n"
        if not largest:
            text += f"v *= {number(1 / constant)};\n" if constant else "v /= (float)count;\n"
        lines = [*finish(call, "v", ["n", "c", *outs], y.shape), f"{view(y, 'y0').at(['n', 'c', *outs])} = v;"]
        order = sorted(range(2 + rank), key=lambda axis: -y.strides[axis])
        names = ["n", "c", *outs]
        return nest([names[axis] for axis in order], [y.shape[axis] for axis in order], text + "\n".join(lines))


def _constant_count(w: Windows, include: bool) -> int | None:
    """By how many elements every window is divided; None if that differs from window to window."""
    condition = _inside_padding if include else inside
    return None if any(condition(w, axis, "p") for axis in range(len(w.kernel))) else prod(w.kernel)


def _inside_padding(w: Windows, axis: int, variable: str) -> str:
    """The condition that an index lies in the padded input, which ceil_mode may leave; "" if it always does."""
    last = (w.output[axis] - 1) * w.strides[axis] + (w.kernel[axis] - 1) * w.dilations[axis] - w.before[axis]
    limit = w.lengths[axis] + w.after[axis]
    return f"{variable} < {limit}" if last >= limit else ""
