"""Squeeze and Unsqueeze in any operator set, under names that are new to a graph."""

from __future__ import annotations

from typing import Any

from recast.stages.common.onnx_models import onnx_files

AXES_AS_INPUT = 13
"""operator set from which on Squeeze and Unsqueeze take their axes as an input"""


def taken_names(graph: Any) -> set[str]:
    """Every name in the main graph: inputs, weights, tensors and nodes."""
    names = {value.name for value in (*graph.input, *graph.initializer)}
    return names | {name for node in graph.node for name in (*node.input, *node.output, node.name)}


def fresh(name: str, taken: set[str]) -> str:
    """The name, with as many `_` after it as make it new; it is taken from then on."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def axis_node(model: onnx_files.Model, kind: str, source: str, made: str, axis: int, *, name: str, axes: str) -> Any:
    """A Squeeze or Unsqueeze, not yet in the graph, from tensor `source` to `made`; a weight `axes` if it takes one."""
    import numpy as np
    import onnx

    if onnx_files.opset(model) < AXES_AS_INPUT:
        return onnx.helper.make_node(kind, [source], [made], name=name, axes=[axis])
    onnx_files.add_weight(model, onnx.numpy_helper.from_array(np.array([axis], np.int64), axes))
    return onnx.helper.make_node(kind, [source, axes], [made], name=name)
