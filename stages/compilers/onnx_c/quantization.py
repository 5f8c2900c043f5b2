"""The parameters of a QuantizeLinear or DequantizeLinear node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.compilers.onnx_c.graph import Graph, Node

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Quantization:
    """real = (integer - zero_point) * scale; arrays of one element, or of one per index of `axis`."""

    scale: NDArray[Any]
    zero_point: NDArray[Any]
    axis: int = 0


def quantization(graph: Graph, node: Node) -> Quantization | None:
    """The constant parameters of a QuantizeLinear or DequantizeLinear; None if they are not constant, or in blocks."""
    import numpy as np

    scale = graph.constant(node.inputs[1])
    zero = graph.constant(node.input(2)) if node.input(2) else np.zeros(1, np.int32)
    if scale is None or zero is None or scale.dtype != np.float32 or scale.ndim > 1:
        return None
    rank = len(graph.tensors[node.inputs[0]].shape)
    axis = int(node.attributes.get("axis", 1)) % rank if scale.size > 1 else 0
    return Quantization(scale.reshape(-1), np.broadcast_to(zero.reshape(-1), (scale.size,)), axis)
