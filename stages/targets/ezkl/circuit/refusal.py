"""Which node of a network EZKL refuses: it tells the reason, and seldom the place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.onnx_models.onnx_subgraphs import reads
from recast.stages.targets.ezkl.circuit.network import drop_unread_weights
from recast.stages.targets.ezkl.process.calls import EzklError


def first_refused(
    model: onnx_files.Model, why: EzklError, make: Callable[[onnx_files.Model], object]
) -> tuple[Any, EzklError] | None:
    """The first node up to which a network is refused, in the order of the graph, and why.

    `model` has fixed shapes, and is refused for `why`. `make` is called for parts of it that begin where it begins and
    end with all that no later node of the part reads, some seven of them for a hundred nodes, and raises EzklError for
    one that is refused too. None if a part cannot be told: a shape is not known.
    """
    import onnx

    whole = onnx.shape_inference.infer_shapes(model)
    known = {value.name: value for value in (*whole.graph.value_info, *whole.graph.output)}
    taken, refused = 0, len(whole.graph.node)
    while refused - taken > 1:
        count = (taken + refused) // 2
        part = _beginning(whole, count, known)
        if part is None:
            return None
        try:
            make(part)
            taken = count
        except EzklError as error:
            refused, why = count, error
    return whole.graph.node[refused - 1], why


def _beginning(model: onnx_files.Model, count: int, known: dict[str, Any]) -> onnx_files.Model | None:
    """The first nodes, which give all that none of them reads; None if a shape of that is not known."""
    part = type(model)()
    part.CopyFrom(model)
    nodes = list(model.graph.node)[:count]
    read = {name for node in nodes for name in reads(node)}
    given = [name for node in nodes for name in node.output if name and name not in read]
    if any(name not in known for name in given):
        return None
    del part.graph.node[count:]
    del part.graph.output[:]
    part.graph.output.extend(known[name] for name in given)
    drop_unread_weights(part)
    return part
