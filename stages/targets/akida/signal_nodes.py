"""Which nodes mean the same on signals (N, C, T) and on maps of height 1, as which Akida takes them: (N, C, 1, T)."""

from __future__ import annotations

from typing import Any

from recast.stages.targets.akida.graph import Graph

POINTWISE = (
    *("Relu", "LeakyRelu", "PRelu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Gelu", "Swish", "Erf", "Identity"),
    *("Add", "Sub", "Mul", "Div", "Min", "Max", "BatchNormalization", "Dropout", "GlobalAveragePool"),
)
WINDOWED = ("Conv", "MaxPool", "AveragePool")


def is_of_signals(graph: Graph) -> bool:
    """Whether the model takes signals."""
    return len(graph.shapes.get(graph.model.graph.input[0].name, ())) == 3


def touches(graph: Graph, node: Any) -> bool:
    """Whether the node reads or makes a signal."""
    names = [name for name in (*node.input, *node.output) if name and name not in graph.weights]
    return any(len(graph.shapes.get(name, ())) == 3 for name in names)


def can_be_lifted(graph: Graph, node: Any) -> bool:
    """Whether there is a node of maps for it."""
    if not touches(graph, node) or node.op_type in POINTWISE:
        return True
    if node.op_type in WINDOWED:
        auto = next((bytes(one.s) for one in node.attribute if one.name == "auto_pad"), b"NOTSET")
        return auto == b"NOTSET" and (node.op_type != "Conv" or node.input[1] in graph.weights)
    if node.op_type == "Concat":
        return axis_of(node) in (1, 2, -1)
    ends_flat = len(graph.shapes.get(node.output[0], ())) == 2
    if node.op_type in ("Flatten", "Reshape"):
        return ends_flat
    if node.op_type in ("Squeeze", "Unsqueeze"):
        return (node.op_type == "Squeeze" and ends_flat) or axes_of(graph, node) in ([2], [-2])
    if node.op_type == "ReduceMean":
        return axes_of(graph, node) in ([2], [-1])
    return node.op_type == "Pad" and len(node.input) > 1 and len(graph.weights.get(node.input[1], ())) == 6


def axis_of(node: Any) -> int | None:
    """The node's attribute `axis`."""
    return next((int(one.i) for one in node.attribute if one.name == "axis"), None)


def axes_of(graph: Graph, node: Any) -> list[int]:
    """The axes that the node names, as an input or an attribute."""
    if len(node.input) > 1:
        return [int(axis) for axis in graph.weights.get(node.input[1], ())]
    return [int(axis) for axis in graph.numbers(node, "axes", 0, 0)]
