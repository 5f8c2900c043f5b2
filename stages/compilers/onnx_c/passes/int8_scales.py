"""What DequantizeLinear and QuantizeLinear say of activations, weights and biases, for the integer kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.quantization import quantization

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Scale:
    """Of an activation: value = scale * (q - zero point), with q - zero point within low..high."""

    scale: float
    low: int
    high: int


def scale_of(node: Node, graph: Graph) -> Scale | None:
    """The scale of one (de)quantizing node over a whole int8 or uint8 tensor; None for any other."""
    name = node.outputs[0] if node.op == "QuantizeLinear" else node.inputs[0]
    kind, found = graph.tensors[name].dtype, quantization(graph, node)
    if kind not in ("int8", "uint8") or found is None or found.scale.size != 1:
        return None
    lowest = (0 if kind == "uint8" else -128) - int(found.zero_point.item())
    return Scale(float(found.scale.item()), lowest, lowest + 255)


def weighted_inputs(
    graph: Graph, node: Node, source: Scale, target: Scale, producers: dict[str, Node]
) -> list[str] | None:
    """Conv and Gemm: int8 weights without zero points, int32 bias at the scale of the sums."""
    import numpy as np

    if node.op == "Gemm" and (
        node.attributes.get("transA", 0) or any(node.attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    ):
        return None
    if node.op == "Conv" and len(graph.tensors[node.inputs[0]].shape) > 4:
        return None
    axis = 0 if node.op == "Conv" or node.attributes.get("transB", 0) else 1
    weights = _constant(graph, producers.get(node.inputs[1]), "int8", axis)
    if weights is None:
        return None
    values, by_channel = weights
    outputs = values.shape[axis]
    per_output = np.broadcast_to(by_channel, outputs)
    sums = np.float32(source.scale) * per_output
    bias = np.zeros(outputs, np.int32)
    if node.input(2):
        found = _constant(graph, producers.get(node.input(2)), "int32", 0)
        # onnxruntime takes the bias as it is: its scale is that of the sums
        if found is None or not np.allclose(np.broadcast_to(found[1], outputs), sums, rtol=1e-5):
            return None
        bias = found[0].reshape(-1)
    rest = tuple(each for each in range(values.ndim) if each != axis)
    largest = np.abs(values.astype(np.int64)).sum(axis=rest) * 255 + np.abs(bias.astype(np.int64))
    if largest.max() >= 2**31:
        return None
    name = node.name
    factor = (sums / np.float32(target.scale)).astype(np.float32)
    constants = {"weights": values, "bias": bias, "factor": factor}
    return [graph.add_constant(value, f"{name}.{part}").name for part, value in constants.items()]


def _constant(graph: Graph, node: Node | None, dtype: str, axis: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Value and scales of a DequantizeLinear of a constant with zero points of 0, over all or along an axis."""
    if node is None or node.op != "DequantizeLinear":
        return None
    value, found = graph.constant(node.inputs[0]), quantization(graph, node)
    if value is None or found is None or str(value.dtype) != dtype or found.zero_point.any():
        return None
    if found.scale.size > 1 and found.axis != axis:
        return None
    return value, found.scale
