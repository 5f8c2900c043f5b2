"""The layers that a target's int8 conversion loses most at, as nodes that can stay in float."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recast.stages.common import loss_ranking
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.report import REPORT


@dataclass(frozen=True)
class LossyLayer:
    """A layer of the int8 conversion, and the nodes of the float graph that it is made of."""

    title: str
    nodes: tuple[str, ...]


def conversion(verified: Path) -> Mapping[str, Any] | None:
    """The conversion to integers in `verify`'s parity.json; None where no layers of one are shown."""
    report = json.loads((verified / REPORT).read_text(encoding="utf-8"))
    return next((one for one in report["conversions"] if one["kind"] == "int8" and len(one["layers"]) > 1), None)


def ranked(verified: Path, graph: onnx_files.Model) -> list[LossyLayer]:
    """The layers in the order of `recast blame`, each with its nodes in the float graph, of which it has some.

    What an input loses is lost at the nodes that read it.
    """
    found = conversion(verified)
    if found is None:
        return []
    makers = {output: node for node in graph.graph.node for output in node.output}
    inputs = {port.name for port in onnx_files.inputs_of(graph)}
    layers = []
    for layer in loss_ranking.ranked(found):
        tensor = layer["tensor"]
        if tensor in inputs:
            nodes = [node.name for node in graph.graph.node if tensor in node.input]
        else:
            nodes = _chain(tensor, len(layer["covers"]), makers)
        if nodes and loss_ranking.own_db(layer) < loss_ranking.EXACT_DB:
            layers.append(LossyLayer(loss_ranking.title(layer), tuple(nodes)))
    return layers


def _chain(tensor: str, covered: int, makers: Mapping[str, Any]) -> list[str]:
    """The node that makes the tensor, and as many before it as it covers: they are fused into one layer."""
    nodes: list[str] = []
    while tensor in makers and len(nodes) <= covered:
        node = makers[tensor]
        nodes.append(node.name)
        tensor = next((name for name in node.input if name in makers), "")
    return nodes
