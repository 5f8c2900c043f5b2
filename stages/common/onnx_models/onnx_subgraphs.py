"""What a node of an ONNX graph reads, the branches and bodies it holds included: these take tensors from around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def subgraphs(node: Any) -> Iterator[Any]:
    """The graphs in the node's attributes: branches of an If, the body of a Loop or Scan."""
    for entry in node.attribute:
        if entry.HasField("g"):
            yield entry.g
        yield from entry.graphs


def reads(node: Any) -> Iterator[str]:
    """Names of the tensors the node reads; '' for an input left out. Names that its subgraphs define are among them."""
    yield from node.input
    for graph in subgraphs(node):
        for inner in graph.node:
            yield from reads(inner)
        yield from (value.name for value in graph.output)


def rename_reads(node: Any, called: Mapping[str, str]) -> None:
    """Have the node read other tensors, in its subgraphs too, where these do not define the name themselves."""
    for index, name in enumerate(node.input):
        node.input[index] = called.get(name, name)
    for graph in subgraphs(node):
        own = {weight.name for weight in graph.initializer} | {value.name for value in graph.input}
        own |= {name for inner in graph.node for name in inner.output}
        seen = {old: new for old, new in called.items() if old not in own}
        for inner in graph.node:
            rename_reads(inner, seen)
        for value in graph.output:
            value.name = seen.get(value.name, value.name)
