"""Reductions over axes, sums along one, ArgMax and ArgMin."""

from __future__ import annotations

from math import prod

from recast.stages.compilers.onnx_c.graph import Graph, Node, Tensor
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel
from recast.stages.compilers.onnx_c.syntax.expressions import binary, number
from recast.stages.compilers.onnx_c.syntax.loops import View, loop, nest, view

# start, what is done with each value, what is done at the end
_SUMS = {
    "ReduceSum": "v += value;",
    "ReduceMean": "v += value;",
    "ReduceSumSquare": "v += value * value;",
    "ReduceL1": "v += value < 0 ? -value : value;",
    "ReduceL2": "v += value * value;",
    "ReduceProd": "v *= value;",
    "ReduceLogSum": "v += value;",
}
_ENDS = {"ReduceL2": "v = sqrtf(v);\n", "ReduceLogSum": "v = rc_log(v);\n"}
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
        if node.op in ("ReduceMean", *_ENDS):
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
        end = _ENDS.get(node.op, "")
        if node.op == "ReduceMean":
            end = f"v *= {number(1 / max(1, prod(x.shape[axis] for axis in axes)))};\n"
        text = f"{c_type} v = {start};\n{body}\n{end}{target.at(names)} = v;"
        return nest([names[axis] for axis in outer], [x.shape[axis] for axis in outer], text)


class LogSumExp(Kernel):
    """The largest value goes out before the exponentials, so that none overflows."""

    name = "log_sum_exp"
    ops = ("ReduceLogSumExp",)

    def refusal(self, node: Node, graph: Graph) -> str:
        if node.input(1) and graph.constant(node.inputs[1]) is None:
            return "axes that are not constant"
        dtype = graph.tensors[node.inputs[0]].dtype
        return "" if dtype == "float32" else f"{dtype} (supported: float32)"

    def emit(self, call: Call) -> str:
        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        rank = len(x.shape)
        axes, names = _axes(call, rank), [f"i{axis}" for axis in range(rank)]
        target = reduced_view(y, "y0", rank, axes, bool(node.attributes.get("keepdims", 1)))
        outer, inner = split_axes(x, axes, target)
        over, source = ([names[axis] for axis in inner], [x.shape[axis] for axis in inner]), view(x, "x0").at(names)
        text = "float largest = -INFINITY, sum = 0.0f;\n"
        text += nest(*over, f"if ({source} > largest) largest = {source};")
        text += "\nif (fabsf(largest) > FLT_MAX) largest = 0.0f;\n"
        text += nest(*over, f"sum += rc_exp({source} - largest);")
        text += f"\n{target.at(names)} = rc_log(sum) + largest;"
        return nest([names[axis] for axis in outer], [x.shape[axis] for axis in outer], text)


class CumSum(Kernel):
    """Sums along an axis up to each element, from either end, with it or without."""

    name = "cumulative_sum"
    ops = ("CumSum",)

    def refusal(self, node: Node, graph: Graph) -> str:
        if graph.constant(node.inputs[1]) is None:
            return "an axis that is not constant"
        dtype = graph.tensors[node.inputs[0]].dtype
        return "" if dtype in ("float32", "int32", "int64") else f"{dtype} (supported: float32, int32, int64)"

    def emit(self, call: Call) -> str:
        import numpy as np

        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        rank = len(x.shape)
        axis = int(np.asarray(call.graph.constant(node.inputs[1])).item()) % rank
        names = [f"i{n}" for n in range(rank)]
        place = list(names)
        if node.attributes.get("reverse", 0):
            place[axis] = f"({x.shape[axis] - 1} - {names[axis]})"
        add = f"sum = {binary('Add', 'sum', 'value', x.dtype)};"
        store = f"{view(y, 'y0').at(place)} = sum;"
        order = (store, add) if node.attributes.get("exclusive", 0) else (add, store)
        body = "\n".join([f"const {x.c_type} value = {view(x, 'x0').at(place)};", *order])
        text = f"{x.c_type} sum = 0;\n{loop(names[axis], x.shape[axis], body)}"
        outer = [n for n in range(rank) if n != axis]
        return nest([names[n] for n in outer], [x.shape[n] for n in outer], text)


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
