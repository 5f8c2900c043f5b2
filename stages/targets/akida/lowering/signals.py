"""Signals (N, C, T) as maps of height 1, (N, C, 1, T): Akida's convolutions and pools go over two axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.targets.akida.lowering import edit
from recast.stages.targets.akida.signal_nodes import (
    POINTWISE,
    WINDOWED,
    axis_of,
    can_be_lifted,
    is_of_signals,
    touches,
)

if TYPE_CHECKING:
    from recast.stages.targets.akida.graph import Graph


def lift(graph: Graph) -> bool:
    """Give all signals a height of 1; False, and nothing changed, where the model is none of signals, or some node
    means something else by three axes."""
    ports = (*graph.model.graph.input, *graph.model.graph.output)
    nodes = graph.model.graph.node
    if not is_of_signals(graph) or not all(can_be_lifted(graph, node) for node in nodes):
        return False
    for change in [_change(graph, node) for node in nodes]:
        for act, *arguments in change:
            act(*arguments)
    for port in ports:
        if len(graph.shapes.get(port.name, ())) == 3:
            batch, channels, length = graph.shapes[port.name]
            port.type.tensor_type.shape.ClearField("dim")
            for axis in (batch, channels, 1, length):
                port.type.tensor_type.shape.dim.add().dim_value = axis
    edit.drop_identities(graph)
    edit.drop_unread(graph)
    return True


def _change(graph: Graph, node: Any) -> list[tuple[Any, ...]]:
    """What is to be done to a node that can be lifted: functions and their arguments."""
    if not touches(graph, node):
        return []
    if node.op_type in WINDOWED:
        return _window(graph, node)
    if node.op_type in POINTWISE:
        return [
            (_raise_constant, graph, node, index)
            for index, name in enumerate(node.input)
            if node.op_type != "BatchNormalization" and name in graph.weights and graph.weights[name].ndim > 1
        ]
    if node.op_type == "Concat":
        return [(edit.attribute, node, "axis", 3)] if axis_of(node) != 1 else []
    ends_flat = len(graph.shapes.get(node.output[0], ())) == 2
    if node.op_type == "ReduceMean" or (node.op_type == "Squeeze" and ends_flat):
        return [(_set_axes, graph, node)]
    if node.op_type in ("Squeeze", "Unsqueeze"):
        # a map of height 1 for an operation of two axes, and back: it is one already
        return [(_pass_on, node)]
    return [(_raise_pads, graph, node)] if node.op_type == "Pad" else []


def _window(graph: Graph, node: Any) -> list[tuple[Any, ...]]:
    """A convolution or pool over one axis."""
    (stride,), (dilation,) = graph.numbers(node, "strides", 1, 1), graph.numbers(node, "dilations", 1, 1)
    left, right = graph.numbers(node, "pads", 0, 2)
    changes: list[tuple[Any, ...]] = [
        (edit.attribute, node, "strides", [stride, stride]),
        (edit.attribute, node, "dilations", [1, dilation] if dilation > 1 else None),
    ]
    if node.op_type == "Conv":
        weight = graph.weights[node.input[1]]
        length, above, below = weight.shape[2], 0, 0
        changes.append((edit.reweigh, graph, node, 1, weight[:, :, None]))
        high = 1
    else:
        (length,) = graph.numbers(node, "kernel_shape", 1, 1)
        # a square pool sees nothing but padding above and below
        square = node.op_type == "MaxPool"
        high = length if square else 1
        above, below = (high - 1) // 2, high - 1 - (high - 1) // 2
    changes.append((edit.attribute, node, "kernel_shape", [high, length]))
    changes.append((edit.attribute, node, "pads", [above, left, below, right]))
    return changes


def _raise_constant(graph: Graph, node: Any, index: int) -> None:
    values = graph.weights[node.input[index]]
    edit.reweigh(graph, node, index, values.reshape(*values.shape[:-1], 1, values.shape[-1]))


def _set_axes(graph: Graph, node: Any) -> None:
    """Both axes of a map."""
    import numpy as np

    if len(node.input) > 1:
        node.input[1] = edit.weight(graph, f"{node.output[0]}/axes", np.array([2, 3]))
    else:
        edit.attribute(node, "axes", [2, 3])


def _pass_on(node: Any) -> None:
    del node.input[1:], node.attribute[:]
    node.op_type = "Identity"


def _raise_pads(graph: Graph, node: Any) -> None:
    import numpy as np

    before, after = np.split(graph.weights[node.input[1]], 2)
    pads = [*before[:2], 0, before[2], *after[:2], 0, after[2]]
    node.input[1] = edit.weight(graph, f"{node.output[0]}/sides", np.array(pads, np.int64))
