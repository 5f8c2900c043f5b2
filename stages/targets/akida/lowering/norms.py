"""BatchNorm that follows no convolution, as a convolution of each channel by its factor: the middle of 3x3 weights.

Add, BatchNorm, Relu, Conv  ->  Add, Conv (one group for each channel), Relu, Conv
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recast.stages.targets.akida import obstacles
from recast.stages.targets.akida.lowering import edit

if TYPE_CHECKING:
    from recast.stages.targets.akida.graph import Graph


def alone(graph: Graph) -> str:
    """Rewrite the first BatchNorm of a map that is part of no layer before it."""
    import numpy as np
    import onnx

    for node in graph.model.graph.node:
        if node.op_type != "BatchNormalization" or obstacles.fault(graph, node) is None:
            continue
        shape = graph.shapes.get(node.input[0], ())
        if len(shape) != 4 or not all(name in graph.weights for name in node.input[1:]):
            continue
        scale, bias, mean, variance = (graph.weights[name].astype(np.float64) for name in node.input[1:])
        epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        kernel = np.zeros((shape[1], 1, 3, 3))
        kernel[:, 0, 1, 1] = factor
        name = graph.names.get(node.output[0]) or node.output[0]
        said = f"{graph.called(node)}: as a convolution of each channel"
        weights = [
            edit.weight(graph, f"{name}.weight", kernel),
            edit.weight(graph, f"{name}.bias", bias - mean * factor),
        ]
        made = onnx.helper.make_node(
            "Conv",
            [node.input[0], *weights],
            [node.output[0]],
            name=node.name,
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
            group=shape[1],
        )
        edit.replace(graph, node, [made])
        return said
    return ""
