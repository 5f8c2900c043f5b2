"""QDQ groups -> quantized nodes, which compute in integers what onnxruntime computes for the group.

before: QuantizeLinear -> DequantizeLinear -> Conv (weights, bias: DequantizeLinear of constants) -> QuantizeLinear -> ...
after:  Quantize -> QConv -> ...

A quantized activation becomes an int16 tensor that holds q - zero point. `Quantize` and `Dequantize` have the attributes
scale, low and high (the bounds of q - zero point); a quantized node has low and high, and its inputs are x, int8
weights, int32 bias and, per output channel, the factor from its sums to its output. What is not recognised stays float
between Dequantize and Quantize.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.wasm.compiler.graph import Graph, Node
from stages.wasm.compiler.passes.quantized import quantization

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUANTIZE, DEQUANTIZE = "Quantize", "Dequantize"
QUANTIZED = {
    "Conv": "QConv",
    "Gemm": "QGemm",
    "Add": "QAdd",
    "MaxPool": "QPool",
    "GlobalMaxPool": "QPool",
    "AveragePool": "QPool",
    "GlobalAveragePool": "QPool",
    "ReduceMean": "QPool",
}
MOVING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity")
"""operators that change no value: between equal scales they move quantized values as they are"""


@dataclass(frozen=True)
class Scale:
    """Of an activation: value = scale * (q - zero point), with q - zero point within low..high."""

    scale: float
    low: int
    high: int


def quantize(graph: Graph) -> None:
    """Rewrite the groups, in place."""
    scales = _activations(graph)
    if not scales:
        return
    for node in list(graph.nodes):
        _group(graph, node, scales)
    _drop_unread(graph)
    _add_residuals(graph)


def _activations(graph: Graph) -> dict[str, Scale]:
    """Replace QuantizeLinear and DequantizeLinear of activations; quantized tensor -> its scale."""
    consumers, scales = graph.consumers(), {}
    for node in graph.nodes:
        if node.op != "QuantizeLinear" or node.outputs[0] in graph.outputs:
            continue
        scale, output = _scale(node, graph), node.outputs[0]
        readers = consumers[output]
        if scale and all(each.op == "DequantizeLinear" and _scale(each, graph) == scale for each in readers):
            scales[output] = scale
            graph.tensors[output].dtype = "int16"
            _replace(node, QUANTIZE, node.inputs[:1], scale)
            for reader in readers:
                _replace(reader, DEQUANTIZE, [output], scale)
    return scales


def _scale(node: Node, graph: Graph) -> Scale | None:
    """The scale of one (de)quantizing node over a whole int8 or uint8 tensor; None for any other."""
    name = node.outputs[0] if node.op == "QuantizeLinear" else node.inputs[0]
    kind, found = graph.tensors[name].dtype, quantization(graph, node)
    if kind not in ("int8", "uint8") or found is None or found.scale.size != 1:
        return None
    lowest = (0 if kind == "uint8" else -128) - int(found.zero_point.item())
    return Scale(float(found.scale.item()), lowest, lowest + 255)


def _replace(node: Node, op: str, inputs: list[str], scale: Scale) -> None:
    node.op, node.inputs = op, inputs
    node.attributes = {"scale": scale.scale, "low": scale.low, "high": scale.high}


def _group(graph: Graph, node: Node, scales: dict[str, Scale]) -> None:
    """Turn one float node between Dequantize and Quantize into a quantized one, if its kind is known."""
    if node.op not in QUANTIZED and node.op not in MOVING:
        return
    producers, readers = graph.producers(), graph.consumers()[node.outputs[0]]
    if len(readers) != 1 or readers[0].op != QUANTIZE or node.outputs[0] in graph.outputs:
        return
    count = 2 if node.op == "Add" else 1
    sources = []
    for name in node.inputs[:count]:
        producer = producers.get(name)
        if producer is None or producer.op != DEQUANTIZE:
            return
        sources.append(producer.inputs[0])
    target = readers[0].outputs[0]
    inputs = _quantized_inputs(graph, node, [scales[name] for name in sources], scales[target], producers)
    if inputs is None:
        return
    node.folded.append(readers[0].name)
    node.inputs = [*sources, *inputs]
    node.outputs = [target]
    if node.op in QUANTIZED:
        node.attributes |= {"kind": node.op, "low": scales[target].low, "high": scales[target].high}
        node.op = QUANTIZED[node.op]
    graph.nodes.remove(readers[0])


def _quantized_inputs(
    graph: Graph, node: Node, sources: list[Scale], target: Scale, producers: dict[str, Node]
) -> list[str] | None:
    """The inputs of the quantized node after its activations; None if the node has no quantized form."""
    import numpy as np

    factors = [np.float32(source.scale) / np.float32(target.scale) for source in sources]
    if node.op in MOVING:
        return node.inputs[1:] if sources[0] == target else None
    if node.op == "Add":
        shape = graph.tensors[node.outputs[0]].shape
        if any(graph.tensors[name].shape != shape for name in node.inputs):
            return None
        node.attributes |= {"own": float(factors[0]), "other": float(factors[1])}
        return []
    if "Pool" in node.op or node.op == "ReduceMean":
        if node.op in ("MaxPool", "GlobalMaxPool") and sources[0] != target:
            return None
        node.attributes["factor"] = float(factors[0])
        return node.inputs[1:]
    return _weighted(graph, node, sources[0], target, producers)


def _weighted(graph: Graph, node: Node, source: Scale, target: Scale, producers: dict[str, Node]) -> list[str] | None:
    """Conv and Gemm: int8 weights without zero points, int32 bias at the scale of the sums."""
    import numpy as np

    if node.op == "Gemm" and (
        node.attributes.get("transA", 0) or any(node.attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    ):
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


def _drop_unread(graph: Graph) -> None:
    """Remove Dequantize and DequantizeLinear that nothing reads any more."""
    for node in reversed(list(graph.nodes)):
        if node.op in (DEQUANTIZE, "DequantizeLinear") and node.outputs[0] not in graph.outputs:
            if not graph.consumers()[node.outputs[0]]:
                graph.nodes.remove(node)


def _add_residuals(graph: Graph) -> None:
    """QConv -> QAdd becomes one QConv, whose fifth input is the other summand."""
    for node in list(graph.nodes):
        if node.op != "QAdd":
            continue
        producers, consumers = graph.producers(), graph.consumers()
        order = {id(each): place for place, each in enumerate(graph.nodes)}
        for own, other in ((0, 1), (1, 0)):
            conv, rest = producers.get(node.inputs[own]), producers.get(node.inputs[other])
            if conv is None or conv.op != "QConv" or len(conv.inputs) > 4 or len(consumers[node.inputs[own]]) != 1:
                continue
            if rest is None or order[id(rest)] > order[id(conv)] or rest is conv:
                continue
            conv.inputs.append(node.inputs[other])
            factors = (node.attributes["own"], node.attributes["other"])
            conv.attributes |= {"own": factors[own], "other": factors[other]}
            conv.attributes |= {"sum_low": node.attributes["low"], "sum_high": node.attributes["high"]}
            conv.outputs = node.outputs
            conv.folded.append(node.name)
            graph.nodes.remove(node)
            break
