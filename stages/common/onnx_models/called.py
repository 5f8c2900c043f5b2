"""What messages call a node of a graph: the layer's name in the user's model, where the graph still tells it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


def called(node: Any, names: Mapping[str, str] = MappingProxyType({})) -> str:
    """The layer as its author calls it, by its weights or by `names` (tensor -> layer), and its operation.

    Else the node's own name, or that of the tensor it gives.
    """
    weights = [name.removesuffix(".weight") for name in node.input if name.endswith(".weight")]
    name = weights[0] if len(weights) == 1 else names.get(node.output[0], "")
    return f"layer '{name}' ({node.op_type})" if name else f"{node.op_type} '{node.name or node.output[0]}'"
