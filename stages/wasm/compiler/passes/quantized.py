"""Recognise operators between DequantizeLinear and QuantizeLinear, and make integer nodes of them.

before: DequantizeLinear (x, weight, bias) -> Conv -> QuantizeLinear;  after: Conv on integers, with `quantized` set.
Only where a kernel takes such a node; elsewhere the three run as written. Operators that only move or choose values,
of equal scale and zero point before and after, become the same operator on integers, which is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stages.wasm.compiler.graph import Graph, Node, Quantization, Quantized

ARITHMETIC = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "AveragePool", "GlobalAveragePool", "ReduceMean",
              "Relu", "Clip", "Concat")  # fmt: skip
MOVES = ("MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Expand")


def fuse(graph: Graph, accepts: Callable[[Node], bool]) -> None:
    """Rewrite the graph in place; `accepts` says whether some kernel computes a node. Dead nodes stay."""
    producers, consumers = graph.producers(), graph.consumers()
    for index, node in enumerate(graph.nodes):
        if node.op not in (*ARITHMETIC, *MOVES):
            continue
        follower = consumers[node.outputs[0]][0] if len(consumers[node.outputs[0]]) == 1 else None
        quantizes = follower is not None and follower.op == "QuantizeLinear" and node.outputs[0] not in graph.outputs
        made = _quantized(graph, producers, node, follower if quantizes else None)
        if made and accepts(made):
            graph.nodes[index] = made
            if quantizes and follower:
                graph.nodes[graph.nodes.index(follower)] = Node(follower.name, "Identity", [], [])
    graph.nodes = [node for node in graph.nodes if node.outputs]


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


def _quantized(graph: Graph, producers: dict[str, Node], node: Node, quantizer: Node | None) -> Node | None:
    """The node on integers; None where its data is not dequantized just before, or nothing says the output's scale."""
    inputs, found = list(node.inputs), []
    for position, name in enumerate(node.inputs):
        before = producers.get(name)
        parameters = quantization(graph, before) if before and before.op == "DequantizeLinear" else None
        found.append(parameters)
        if before and parameters:
            inputs[position] = before.inputs[0]
        elif position == 0 or (name and graph.constant(name) is None):
            return None
    if any(step.operand for step in node.epilogue):
        return None
    output = quantization(graph, quantizer) if quantizer else None
    if quantizer and output is None:
        return None
    outputs = list(quantizer.outputs if quantizer else node.outputs)
    if node.op in MOVES:
        if output is None or found[0] is None or node.epilogue or len(node.outputs) > 1 or not _equal(found[0], output):
            return None
        if graph.tensors[inputs[0]].dtype != graph.tensors[outputs[0]].dtype:
            return None
        return replace(node, inputs=inputs, outputs=outputs)
    folded = [*node.folded, *([quantizer.name] if quantizer else [])]
    return replace(node, inputs=inputs, outputs=outputs, folded=folded, quantized=Quantized(tuple(found), output))


def _equal(one: Quantization, other: Quantization) -> bool:
    import numpy as np

    same = np.array_equal(one.scale, other.scale) and np.array_equal(one.zero_point, other.zero_point)
    return same and one.scale.size == 1
