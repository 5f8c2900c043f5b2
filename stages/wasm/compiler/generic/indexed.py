"""Pad and Gather: each axis of the output reads the input's axis through a table of indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stages.wasm.compiler.expressions import number
from stages.wasm.compiler.generic.copies import copy
from stages.wasm.compiler.graph import Graph, Node
from stages.wasm.compiler.kernel import Call, Kernel
from stages.wasm.compiler.loops import View, collapse, nest, sum_of, term, variables, view

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
            row = f"int64_t row = {index};\nif (row < 0) row += {length};\n"
            row += f"row = row < 0 ? 0 : row >= {length} ? {length - 1} : row;"
        places = [*names[:axis], "row", *names[axis + len(chosen.shape) :]]
        body = f"{row}\n{view(y, 'y0').at(names)} = {view(x, 'x0').at(places)};"
        return nest(names, y.shape, body)


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
