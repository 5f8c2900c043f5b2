"""Fold BatchNormalization with constant statistics into the Conv, ConvTranspose or Gemm before it.

before: Conv(w, b) -> BatchNormalization;  after: Conv(w * f, (b - mean) * f + bias), f = scale / sqrt(variance +
epsilon) per output channel, computed in double precision. One with nothing to fold into becomes a Mul and an Add.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.compilers.onnx_c.graph import Graph, Node

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fold(graph: Graph) -> None:
    """Rewrite the graph in place."""
    producers, consumers = graph.producers(), graph.consumers()
    nodes: list[Node] = []
    for node in graph.nodes:
        values = [graph.constant(name) for name in node.inputs[1:5]] if node.op == "BatchNormalization" else []
        training = node.attributes.get("training_mode", 0) or len([name for name in node.outputs if name]) > 1
        if not values or training or any(value is None for value in values):
            nodes.append(node)
            continue
        factor, shift = _affine(values, float(node.attributes.get("epsilon", 1e-5)))
        before = producers.get(node.inputs[0])
        alone = before and len(consumers[node.inputs[0]]) == 1 and node.inputs[0] not in graph.outputs
        if before and alone and _scale(graph, before, factor, shift):
            before.outputs = list(node.outputs[:1])
            before.folded.append(node.name)
            producers[node.outputs[0]] = before
        else:
            nodes += _multiply_add(graph, node, factor, shift)
    graph.nodes = nodes


def _affine(values: list[Any], epsilon: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """BatchNormalization as x * factor + shift, in float64."""
    import numpy as np

    scale, bias, mean, variance = (value.astype(np.float64) for value in values)
    factor = scale / np.sqrt(variance + epsilon)
    return factor, bias - mean * factor


def _scale(graph: Graph, node: Node, factor: NDArray[Any], shift: NDArray[Any]) -> bool:
    """Put factor and shift into a node's weights, if they are constant; whether it was done."""
    import numpy as np

    if node.op not in ("Conv", "ConvTranspose", "Gemm") or node.epilogue:
        return False
    weight = graph.constant(node.inputs[1])
    bias = graph.constant(node.input(2)) if node.input(2) else np.zeros(1)
    if weight is None or bias is None or weight.dtype != np.float32:
        return False
    if node.op == "Gemm":
        if bias.ndim > 1 and bias.shape[0] != 1:
            return False
        # alpha and beta stay: the product is scaled by alpha, the bias by beta
        axis = 0 if node.attributes.get("transB", 0) else 1
        scaled = weight * (factor[:, None] if axis == 0 else factor)
        moved = float(node.attributes.get("beta", 1.0)) * bias.reshape(-1) * factor + shift
        node.attributes["beta"] = 1.0
    elif node.op == "Conv":
        scaled = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
        moved = bias * factor + shift
    else:
        groups = int(node.attributes.get("group", 1))
        per_group = factor.reshape(groups, 1, -1, *(1,) * (weight.ndim - 2))
        scaled = (weight.reshape(groups, -1, *weight.shape[1:]) * per_group).reshape(weight.shape)
        moved = bias * factor + shift
    node.inputs = [
        node.inputs[0],
        graph.add_constant(scaled.astype(np.float32), f"{node.name}.weight").name,
        graph.add_constant(moved.astype(np.float32), f"{node.name}.bias").name,
    ]
    return True


def _multiply_add(graph: Graph, node: Node, factor: NDArray[Any], shift: NDArray[Any]) -> list[Node]:
    import numpy as np

    x = graph.tensors[node.inputs[0]]
    shape = (1, -1, *(1,) * (len(x.shape) - 2))
    names = [
        graph.add_constant(value.astype(np.float32).reshape(shape), f"{node.name}.{what}").name
        for value, what in ((factor, "factor"), (shift, "shift"))
    ]
    between = graph.add(x, "scaled", dtype="float32").name
    return [
        Node(f"{node.name}.multiply", "Mul", [x.name, names[0]], [between], opset=node.opset),
        Node(f"{node.name}.add", "Add", [between, names[1]], list(node.outputs[:1]), opset=node.opset),
    ]
