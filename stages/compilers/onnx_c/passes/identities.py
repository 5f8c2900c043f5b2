"""Leave out nodes that hand their input on: Identity, and Dropout in inference.

before: x -> Identity -> y -> Relu;  after: x -> Relu. One that writes an output of the model stays, as a copy.
"""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph


def remove(graph: Graph) -> None:
    """Rewrite the graph in place."""
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        trivial = node.op == "Identity" or (node.op == "Dropout" and not node.input(2) and len(node.outputs) == 1)
        if trivial and node.outputs[0] not in graph.outputs:
            renamed[node.outputs[0]] = node.inputs[0]
        else:
            kept.append(node)
    graph.nodes = kept
