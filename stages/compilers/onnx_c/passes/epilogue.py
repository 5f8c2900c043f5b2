"""Merge an activation, or the addition of another tensor, into the node that computes its input.

before: Conv -> Add(residual) -> Relu;  after: Conv with the epilogue [Add residual, Relu]. Only where nothing else
reads what lies between, and the other operand is computed before the node runs.
"""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node, Step

HOSTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul")
"""operators whose kernels apply an epilogue"""

ACTIVATIONS = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Gelu", "Elu", "Selu",
               "Celu", "Mish", "Swish", "Softplus", "Abs", "Neg", "Sqrt", "Exp", "Erf")  # fmt: skip
_BINARY = ("Add", "Sub", "Mul", "Div", "PRelu")


def fuse(graph: Graph) -> None:
    """Rewrite the graph in place."""
    consumers = graph.consumers()
    merged: set[int] = set()
    position = {name: index for index, node in enumerate(graph.nodes) for name in node.outputs}
    for index, node in enumerate(graph.nodes):
        if id(node) in merged or node.op not in HOSTS or graph.tensors[node.outputs[0]].dtype != "float32":
            continue
        while node.outputs[0] not in graph.outputs and len(consumers[node.outputs[0]]) == 1:
            follower = consumers[node.outputs[0]][0]
            step = _step(graph, node, follower)
            if step is None or (step.operand and position.get(step.operand, -1) >= index):
                break
            node.epilogue.append(step)
            node.outputs = list(follower.outputs)
            node.folded.append(follower.name)
            position[node.outputs[0]] = index
            merged.add(id(follower))
    graph.nodes = [node for node in graph.nodes if id(node) not in merged]


def _step(graph: Graph, node: Node, follower: Node) -> Step | None:
    """The follower as a step of the node's epilogue, if it can be one."""
    source = node.outputs[0]
    if len(follower.outputs) != 1 or follower.epilogue:
        return None
    if follower.op in ACTIVATIONS:
        attributes = dict(follower.attributes)
        for index, name in ((1, "min"), (2, "max")):
            if follower.op == "Clip" and follower.input(index):
                value = graph.constant(follower.inputs[index])
                if value is None:
                    return None
                attributes[name] = value.item()
        return Step(follower.op, attributes)
    if follower.op in _BINARY:
        swapped = follower.inputs[1] == source
        other = follower.inputs[0 if swapped else 1]
        if (swapped and follower.op == "PRelu") or other == source:
            return None
        if graph.tensors[follower.outputs[0]].shape != graph.tensors[source].shape:
            return None
        return Step(follower.op, operand=other, swapped=swapped)
    return None
