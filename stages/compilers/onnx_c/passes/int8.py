"""QDQ groups -> quantized nodes, which compute in integers what onnxruntime computes for the group.

before: QuantizeLinear -> DequantizeLinear -> Conv (weights, bias: DequantizeLinear of constants) -> QuantizeLinear;
after:  Quantize -> QConv.

A quantized activation becomes an int16 tensor of q - zero point. `Quantize` and `Dequantize` have the attributes scale,
low and high (the bounds of q - zero point); a quantized node has low and high, and its inputs are x, int8
weights, int32 bias and, per output channel, the factor from its sums to its output. What is not recognised stays float
between Dequantize and Quantize.
"""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.pooling import pooling
from recast.stages.compilers.onnx_c.passes import int8_residuals
from recast.stages.compilers.onnx_c.passes.int8_scales import Scale, scale_of, weighted_inputs

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


def quantize(graph: Graph) -> None:
    """Rewrite the groups, in place."""
    scales = _activations(graph)
    if not scales:
        return
    for node in list(graph.nodes):
        _group(graph, node, scales)
    _drop_unread(graph)
    int8_residuals.merge(graph)


def _activations(graph: Graph) -> dict[str, Scale]:
    """Replace QuantizeLinear and DequantizeLinear of activations; quantized tensor -> its scale."""
    consumers, scales = graph.consumers(), {}
    for node in graph.nodes:
        if node.op != "QuantizeLinear" or node.outputs[0] in graph.outputs:
            continue
        scale, output = scale_of(node, graph), node.outputs[0]
        readers = consumers[output]
        if scale and all(each.op == "DequantizeLinear" and scale_of(each, graph) == scale for each in readers):
            scales[output] = scale
            graph.tensors[output].dtype = "int16"
            _replace(node, QUANTIZE, node.inputs[:1], scale)
            for reader in readers:
                _replace(reader, DEQUANTIZE, [output], scale)
    return scales


def _replace(node: Node, op: str, inputs: list[str], scale: Scale) -> None:
    node.op, node.inputs = op, inputs
    node.attributes = {"scale": scale.scale, "low": scale.low, "high": scale.high}


def _group(graph: Graph, node: Node, scales: dict[str, Scale]) -> None:
    """Turn one float node between Dequantize and Quantize into a quantized one, if its kind is known."""
    if node.op not in QUANTIZED and node.op not in MOVING:
        return
    producers, readers = graph.producers(), graph.consumers()[node.outputs[0]]
    if len(readers) != 1 or node.outputs[0] in graph.outputs:
        return
    # a maximum is stored as it is, so it cannot clip
    relu = readers[0] if readers[0].op == "Relu" and node.op in QUANTIZED and "Max" not in node.op else None
    if relu:
        readers = graph.consumers()[relu.outputs[0]]
        if len(readers) != 1 or relu.outputs[0] in graph.outputs:
            return
    if readers[0].op != QUANTIZE:
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
        # of a quantized value, what is below 0 is below its zero point
        low = max(scales[target].low, 0) if relu else scales[target].low
        node.attributes |= {"kind": node.op, "low": low, "high": scales[target].high}
        node.op = QUANTIZED[node.op]
    graph.nodes.remove(readers[0])
    if relu:
        node.folded.insert(0, relu.name)
        graph.nodes.remove(relu)


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
        if pooling(node.op, node, graph) is None or (node.op in ("MaxPool", "GlobalMaxPool") and sources[0] != target):
            return None
        node.attributes["factor"] = float(factors[0])
        return node.inputs[1:]
    return weighted_inputs(graph, node, sources[0], target, producers)


def _drop_unread(graph: Graph) -> None:
    """Remove Dequantize and DequantizeLinear that nothing reads any more."""
    for node in reversed(list(graph.nodes)):
        unread = not graph.consumers()[node.outputs[0]] and node.outputs[0] not in graph.outputs
        if node.op in (DEQUANTIZE, "DequantizeLinear") and unread:
            graph.nodes.remove(node)
