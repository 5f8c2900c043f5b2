"""Which tensors are one memory: views under another shape, and results written over an operand that dies."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel


def find(roots: dict[str, str], name: str) -> str:
    while name in roots:
        name = roots[name]
    return name


def aliases(graph: Graph, calls: list[Call], kernels: dict[str, Kernel]) -> tuple[dict[str, str], set[int]]:
    """Outputs that are the input's memory under another shape: tensor -> the tensor it is, and the steps left out."""
    roots: dict[str, str] = {}
    skipped: set[int] = set()
    fixed = set(graph.inputs)
    claimed = {name: name for name in graph.outputs}  # root -> the output that it is
    for step, call in enumerate(calls):
        if not kernels[call.node.outputs[0]].renames:
            continue
        source, target = call.node.inputs[0], call.node.outputs[0]
        root = find(roots, source)
        if graph.tensors[source].value is not None or any(graph.tensors[source].border):
            continue
        if target in claimed:
            if root in fixed or root in claimed:
                continue
            claimed[root] = target
        roots[target] = root
        skipped.add(step)
    return roots, skipped


def lifetimes(graph: Graph, calls: list[Call], roots: dict[str, str]) -> tuple[dict[str, int], dict[str, int]]:
    """Root -> the step that first writes it, and the step that last reads or writes it."""
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    for step, call in enumerate(calls):
        for name in call.outputs:
            root = find(roots, name)
            starts.setdefault(root, step)
            ends[root] = step
        for name in call.reads:
            ends[find(roots, name)] = step
    return starts, ends


def share_in_place(
    graph: Graph,
    calls: list[Call],
    kernels: dict[str, Kernel],
    roots: dict[str, str],
    starts: dict[str, int],
    ends: dict[str, int],
) -> None:
    """Let the output of an elementwise step take the memory of an input that dies there."""
    # the caller's arrays: what it gave stays as it is, and what it is given is written once
    kept = {find(roots, name) for name in (*graph.inputs, *graph.outputs)}
    for step, call in enumerate(calls):
        node = call.node
        if not kernels[node.outputs[0]].in_place or len(call.outputs) != 1:
            continue
        target = node.outputs[0]
        if find(roots, target) != target or target in kept:
            continue
        for name in call.reads:
            root = find(roots, name)
            if root not in starts or root in kept or ends[root] != step or starts[root] == step:
                continue
            together = [each for each in call.reads if find(roots, each) == root]
            if any(graph.tensors[each].geometry != graph.tensors[target].geometry for each in together):
                continue
            if graph.tensors[root].border != graph.tensors[target].border:
                continue
            roots[target] = root
            ends[root] = max(ends[root], ends[target])
            break
