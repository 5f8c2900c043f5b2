"""Leave out nodes whose outputs nothing reads."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node


def remove(graph: Graph) -> None:
    """Rewrite the graph in place."""
    needed = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            needed.update(node.reads)
            kept.append(node)
    graph.nodes = kept[::-1]
