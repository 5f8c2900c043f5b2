"""Compute DequantizeLinear of constants: what `reading` left for `int8` to see."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph
from recast.stages.compilers.onnx_c.quantization import quantization


def fold(graph: Graph) -> None:
    """Rewrite the graph in place: weights of a node that stays in float32 become float32."""
    import numpy as np

    kept = []
    for node in graph.nodes:
        value = graph.constant(node.inputs[0]) if node.op == "DequantizeLinear" else None
        found = quantization(graph, node) if value is not None else None
        if value is None or found is None:
            kept.append(node)
            continue
        shape = [1] * value.ndim
        if found.scale.size > 1:
            shape[found.axis] = -1
        difference = value.astype(np.int32) - found.zero_point.astype(np.int32).reshape(shape)
        output = graph.tensors[node.outputs[0]]
        output.value = difference.astype(np.float32) * found.scale.reshape(shape)
    graph.nodes = kept
