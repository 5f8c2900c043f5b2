"""Merge the quantized Add of a residual into the quantized convolution before it.

before: QConv -> QAdd (other);  after: QConv with `other` as its fifth input, and the rounding of both.
"""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph


def merge(graph: Graph) -> None:
    """Rewrite the graph in place, where the other summand is computed before the convolution."""
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
