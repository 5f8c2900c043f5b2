"""Elementwise operators over operands of any layout, with NumPy's broadcasting."""

from __future__ import annotations

from typing import Any

from recast.stages.compilers.onnx_c.graph import C_TYPES, Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel
from recast.stages.compilers.onnx_c.kernels.epilogue import operands, statements
from recast.stages.compilers.onnx_c.syntax import expressions
from recast.stages.compilers.onnx_c.syntax.loops import broadcast, collapse, nest, variables, view


class Elementwise(Kernel):
    """One loop nest over the output; axes are merged where all operands allow."""

    name = "elementwise"
    ops = (*expressions.UNARY, *expressions.BINARY, *expressions.VARIADIC, "Where")
    in_place = True

    def refusal(self, node: Node, graph: Graph) -> str:
        dtype = graph.tensors[node.inputs[0]].dtype
        if node.op in expressions.FLOAT_ONLY and dtype != "float32":
            return f"{dtype} (supported: float32)"
        if node.op == "Pow" and any(graph.tensors[name].dtype != "float32" for name in node.inputs):
            return "Pow of anything but float32"
        if len([name for name in node.outputs if name]) != 1:
            return "a second output"
        if node.op == "Dropout" and node.input(2) and graph.constant(node.input(2)) is None:
            return "training_mode that is not constant"
        if node.op == "Dropout" and node.input(2) and bool(graph.constant(node.input(2))):
            return "training_mode"
        if node.op == "Clip" and _clip_limits(node, graph) is None:
            return "limits that are not constant"
        return ""

    def emit(self, call: Call) -> str:
        node, output = call.node, call.tensor(call.node.outputs[0])
        names = _operands(node)
        views = [view(output, "y0")]
        views += [broadcast(call.tensor(name), call.argument(name), output.shape) for name in names]
        views += operands(call, output.shape)
        extents, views = collapse(output.shape, views)
        indices = variables(len(extents))
        elements = [each.at(indices) for each in views]
        arguments = [f"v{i}" for i in range(len(names))]
        lines = [
            f"const {call.tensor(name).c_type} {argument} = {element};"
            for name, argument, element in zip(names, arguments, elements[1:], strict=False)
        ]
        lines.append(f"{output.c_type} v = {_expression(node, call.graph, arguments)};")
        lines += statements(node, "v", elements[1 + len(names) :])
        lines.append(f"{elements[0]} = v;")
        return nest(indices, extents, "\n".join(lines), independent=True)


def _operands(node: Node) -> list[str]:
    return node.inputs[:1] if node.op in ("Clip", "Dropout") else node.inputs


def _expression(node: Node, graph: Graph, arguments: list[str]) -> str:
    dtype = graph.tensors[node.inputs[0]].dtype
    if node.op == "Where":
        return f"{arguments[0]} ? {arguments[1]} : {arguments[2]}"
    if node.op == "Cast":
        return expressions.cast(arguments[0], dtype, graph.tensors[node.outputs[0]].dtype)
    if node.op == "Clip":
        low, high = _clip_limits(node, graph) or (None, None)
        return expressions.clip(arguments[0], low, high, C_TYPES[dtype])
    if node.op in expressions.VARIADIC:
        return expressions.variadic(node.op, arguments, dtype)
    if node.op in expressions.BINARY:
        return expressions.binary(node.op, arguments[0], arguments[1], dtype)
    return expressions.unary(node.op, arguments[0], node.attributes, dtype)


def _clip_limits(node: Node, graph: Graph) -> tuple[Any, Any] | None:
    """The limits, None for one that is absent; no pair at all if they are not constant. Attributes before opset 11."""
    found: list[Any] = []
    for index, name in ((1, "min"), (2, "max")):
        if node.input(index):
            value = graph.constant(node.input(index))
            if value is None:
                return None
            found.append(value.item())
        else:
            found.append(node.attributes.get(name))
    return found[0], found[1]
