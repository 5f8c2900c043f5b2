"""Pad and Gather: axes of the output read those of the input through a table, or by indices as they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel
from recast.stages.compilers.onnx_c.kernels.generic.copies import copy
from recast.stages.compilers.onnx_c.syntax.expressions import number
from recast.stages.compilers.onnx_c.syntax.loops import View, collapse, nest, sum_of, term, variables, view

if TYPE_CHECKING:
    from numpy.typing import NDArray


def through_tables(call: Call, tables: Sequence[NDArray[Any] | None]) -> str:
    """Copy with y[i0, i1, ...] = x[t0[i0], t1[i1], ...]; a table of None is the identity."""
    import numpy as np

    x, y = call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
    names = variables(len(y.shape))
    terms = []
    for name, table, stride in zip(names, tables, x.strides, strict=True):
        if table is None:
            terms.append(term(name, stride))
        else:
            terms.append(f"{call.weights((table * stride).astype(np.int32))}[{name}]")
    order = sorted(range(len(names)), key=lambda axis: -y.strides[axis])
    body = f"{view(y, 'y0').at(names)} = x0[{sum_of(terms)}];"
    return nest([names[axis] for axis in order], [y.shape[axis] for axis in order], body, independent=True)


class Pad(Kernel):
    """Constant, reflect, edge and wrap; negative pads cut."""

    name = "pad"
    ops = ("Pad",)

    def refusal(self, node: Node, graph: Graph) -> str:
        for index, what in ((1, "pads"), (3, "axes")):
            if node.input(index) and graph.constant(node.inputs[index]) is None:
                return f"{what} that are not constant"
        mode = node.attributes.get("mode", "constant")
        return "" if mode in ("constant", "reflect", "edge", "wrap") else f"mode {mode}"

    def emit(self, call: Call) -> str:
        import numpy as np

        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        before = _pads_before(call, len(x.shape))
        mode = node.attributes.get("mode", "constant")
        if mode == "constant":
            value = node.attributes.get("value", 0.0)
            filling = f"{call.argument(node.inputs[2])}[0]" if node.input(2) else number(value, x.c_type)
            target, source = view(y, "y0"), view(x, "x0")
            shape = []
            for axis, (pad, length, whole) in enumerate(zip(before, x.shape, y.shape, strict=True)):
                cut, start = max(0, -pad), max(0, pad)
                target = View("y0", target.strides, target.offset + start * target.strides[axis])
                source = View("x0", source.strides, source.offset + cut * source.strides[axis])
                shape.append(max(0, min(length - cut, whole - start)))
            extents, (all_of_it,) = collapse(y.shape, [view(y, "y0")])
            indices = variables(len(extents))
            fill = nest(indices, extents, f"{all_of_it.at(indices)} = {filling};", independent=True)
            return "\n".join(filter(None, (fill, copy(target, source, shape))))
        tables: list[NDArray[Any] | None] = []
        for pad, length, whole in zip(before, x.shape, y.shape, strict=True):
            if pad == 0 and length == whole:
                tables.append(None)
                continue
            index = np.arange(whole) - pad
            if mode == "edge":
                index = np.clip(index, 0, length - 1)
            elif mode == "wrap":
                index = index % length
            else:
                period = max(1, 2 * (length - 1))
                index = index % period
                index = np.where(index >= length, period - index, index)
            tables.append(index)
        return through_tables(call, tables)


class Gather(Kernel):
    """Rows of an axis by index: a table if the indices are constant, else read as it runs, kept inside the axis."""

    name = "gather"
    ops = ("Gather",)

    def emit(self, call: Call) -> str:
        import numpy as np

        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        chosen = call.tensor(node.inputs[1])
        axis = int(node.attributes.get("axis", 0)) % len(x.shape)
        length = x.shape[axis]
        names = variables(len(y.shape))
        inner = names[axis : axis + len(chosen.shape)]
        if chosen.value is not None:
            table = call.weights(np.where(chosen.value < 0, chosen.value + length, chosen.value).astype(np.int32))
            strides = tuple(int(np.prod(chosen.shape[n + 1 :])) for n in range(len(chosen.shape)))
            row = f"const int row = {View(table, strides).at(inner)};"
        else:
            index = view(chosen, call.argument(chosen.name)).at(inner)
            row = _kept("row", index, length)
        places = [*names[:axis], "row", *names[axis + len(chosen.shape) :]]
        body = f"{row}\n{view(y, 'y0').at(names)} = {view(x, 'x0').at(places)};"
        return nest(names, y.shape, body)


class GatherElements(Kernel):
    """One element for each index, along an axis."""

    name = "gather_elements"
    ops = ("GatherElements",)

    def emit(self, call: Call) -> str:
        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        chosen = call.tensor(node.inputs[1])
        axis = int(node.attributes.get("axis", 0)) % len(x.shape)
        names = variables(len(y.shape))
        index = view(chosen, call.argument(chosen.name)).at(names)
        place = [*names[:axis], "row", *names[axis + 1 :]]
        body = f"{_kept('row', index, x.shape[axis])}\n{view(y, 'y0').at(names)} = {view(x, 'x0').at(place)};"
        return nest(names, y.shape, body)


class GatherND(Kernel):
    """A part of the input for each row of indices, behind the axes of a batch."""

    name = "gather_nd"
    ops = ("GatherND",)

    def emit(self, call: Call) -> str:
        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        chosen = call.tensor(node.inputs[1])
        batch, rows, depth = int(node.attributes.get("batch_dims", 0)), len(chosen.shape) - 1, chosen.shape[-1]
        names = variables(len(y.shape))
        place = [*names[:batch], *(f"row{k}" for k in range(depth)), *names[rows:]]
        indices = view(chosen, call.argument(chosen.name))
        lines = [_kept(f"row{k}", indices.at([*names[:rows], str(k)]), x.shape[batch + k]) for k in range(depth)]
        lines.append(f"{view(y, 'y0').at(names)} = {view(x, 'x0').at(place)};")
        return nest(names, y.shape, "\n".join(lines))


class OneHot(Kernel):
    """One value at the place that an index says, another elsewhere; an index outside marks no place."""

    name = "one_hot"
    ops = ("OneHot",)

    def refusal(self, node: Node, graph: Graph) -> str:
        return "a depth that is not constant" if graph.constant(node.inputs[1]) is None else ""

    def emit(self, call: Call) -> str:
        node, y = call.node, call.tensor(call.node.outputs[0])
        chosen, values = call.tensor(node.inputs[0]), call.argument(node.inputs[2])
        axis = int(node.attributes.get("axis", -1)) % len(y.shape)
        names = variables(len(y.shape))
        index = view(chosen, call.argument(chosen.name)).at([*names[:axis], *names[axis + 1 :]])
        text = f"int64_t row = (int64_t){index};\nif (row < 0) row += {y.shape[axis]};\n"
        text += f"{view(y, 'y0').at(names)} = {values}[row == {names[axis]}];"
        return nest(names, y.shape, text)


def _kept(name: str, index: str, length: int) -> str:
    """An index as a variable: a negative one counts from the end, and none leaves the axis."""
    text = f"int64_t {name} = {index};\nif ({name} < 0) {name} += {length};\n"
    return text + f"{name} = {name} < 0 ? 0 : {name} >= {length} ? {length - 1} : {name};"


def _pads_before(call: Call, rank: int) -> list[int]:
    node = call.node
    value = call.graph.constant(node.input(1))
    pads = node.attributes["pads"] if value is None else [int(n) for n in value.ravel()]
    chosen = call.graph.constant(node.input(3))
    axes = list(range(rank)) if chosen is None else [int(n) % rank for n in chosen.ravel()]
    before = [0] * rank
    for axis, pad in zip(axes, pads[: len(axes)], strict=True):
        before[axis] = int(pad)
    return before
