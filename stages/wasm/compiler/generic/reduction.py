"""Reductions over axes, ArgMax and ArgMin."""

from __future__ import annotations

from math import prod

from stages.wasm.compiler.expressions import number
from stages.wasm.compiler.graph import Graph, Node, Tensor
from stages.wasm.compiler.kernel import Call, Kernel
from stages.wasm.compiler.loops import View, loop, nest, view

# start, what is done with each value, what is done at the end
_SUMS = {
    "ReduceSum": "v += value;",
    "ReduceMean": "v += value;",
    "ReduceSumSquare": "v += value * value;",
    "ReduceL1": "v += value < 0 ? -value : value;",
    "ReduceL2": "v += value * value;",
    "ReduceProd": "v *= value;",
}
_EXTREMA = {"ReduceMax": ">", "ReduceMin": "<"}
_LOWEST = {"float32": "INFINITY", "bool": "BOOL", "int8": "INT8", "uint8": "UINT8", "int32": "INT32", "int64": "INT64"}


def reduced_view(y: Tensor, pointer: str, rank: int, axes: list[int], keepdims: bool) -> View:
    """The output as a view over the axes of the input; those reduced do not advance."""
    strides = [0] * rank
    kept = iter(y.strides)
    for axis in range(rank):
        if axis not in axes:
            strides[axis] = next(kept)
        elif keepdims:
            next(kept)
    return View(pointer, tuple(strides))


def split_axes(x: Tensor, axes: list[int], target: View) -> tuple[list[int], list[int]]:
    """The axes of the outer loops in the output's memory order, and those of the inner ones in the input's."""
    outer = [axis for axis in range(len(x.shape)) if axis not in axes]
    return sorted(outer, key=lambda axis: -target.strides[axis]), sorted(axes, key=lambda axis: -x.strides[axis])


class Reduce(Kernel):
    """One loop nest over the kept axes, one inside it over the reduced."""

    name = "reduce"
    ops = (*_SUMS, *_EXTREMA)

    def refusal(self, node: Node, graph: Graph) -> str:
        dtype = graph.tensors[node.inputs[0]].dtype
        if node.input(1) and graph.constant(node.inputs[1]) is None:
            return "axes that are not constant"
        known = list(_LOWEST) if node.op in _EXTREMA else ["float32", "int32", "int64"]
        if node.op in ("ReduceMean", "ReduceL2"):
            known = ["float32"]
        return "" if dtype in known else f"{dtype} (supported: {', '.join(known)})"

    def emit(self, call: Call) -> str:
        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        rank = len(x.shape)
        axes = _axes(call, rank)
        names = [f"i{axis}" for axis in range(rank)]
        target = reduced_view(y, "y0", rank, axes, bool(node.attributes.get("keepdims", 1)))
        outer, inner = split_axes(x, axes, target)
        c_type = x.c_type
        if node.op in _EXTREMA:
            sign = _EXTREMA[node.op]
            start = _extreme(x.dtype, lowest=node.op == "ReduceMax")
            nan = " || value != value" if x.dtype == "float32" else ""
            body = f"if (value {sign} v{nan}) v = value;"
        else:
            start, body = "1" if node.op == "ReduceProd" else "0", _SUMS[node.op]
        body = f"const {c_type} value = {view(x, 'x0').at(names)};\n{body}"
        body = nest([names[axis] for axis in inner], [x.shape[axis] for axis in inner], body)
        end = ""
        if node.op == "ReduceMean":
            end = f"v *= {number(1 / max(1, prod(x.shape[axis] for axis in axes)))};\n"
        elif node.op == "ReduceL2":
            end = "v = sqrtf(v);\n"
        text = f"{c_type} v = {start};\n{body}\n{end}{target.at(names)} = v;"
        return nest([names[axis] for axis in outer], [x.shape[axis] for axis in outer], text)


class ArgExtreme(Kernel):
    """The index of the largest or smallest value along an axis, the first or the last of equal ones."""

    name = "arg_extreme"
    ops = ("ArgMax", "ArgMin")

    def emit(self, call: Call) -> str:
        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        rank = len(x.shape)
        axis = int(node.attributes.get("axis", 0)) % rank
        names = [f"i{n}" for n in range(rank)]
        target = reduced_view(y, "y0", rank, [axis], bool(node.attributes.get("keepdims", 1)))
        sign = ">" if node.op == "ArgMax" else "<"
        sign += "=" if node.attributes.get("select_last_index", 0) else ""
        source = view(x, "x0")
        first = source.at([*names[:axis], "0", *names[axis + 1 :]])
        body = f"const {x.c_type} value = {source.at(names)};\n"
        body += f"if (value {sign} best) {{\n  best = value;\n  v = {names[axis]};\n}}"
        text = f"{x.c_type} best = {first};\nint64_t v = 0;\n{loop(names[axis], x.shape[axis], body)}\n"
        text += f"{target.at(names)} = v;"
        outer, _ = split_axes(x, [axis], target)
        return nest([names[n] for n in outer], [x.shape[n] for n in outer], text)


def _axes(call: Call, rank: int) -> list[int]:
    node = call.node
    value = call.graph.constant(node.input(1))
    given = node.attributes.get("axes") if value is None else [int(n) for n in value.ravel()]
    if not given:
        return [] if node.attributes.get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted({int(axis) % rank for axis in given})


def _extreme(dtype: str, lowest: bool) -> str:
    if dtype == "float32":
        return "-INFINITY" if lowest else "INFINITY"
    if dtype == "bool":
        return "0" if lowest else "1"
    if dtype.startswith("u"):
        return "0" if lowest else f"{_LOWEST[dtype]}_MAX"
    return f"{_LOWEST[dtype]}_{'MIN' if lowest else 'MAX'}"
