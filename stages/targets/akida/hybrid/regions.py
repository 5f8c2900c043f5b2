"""Where a graph can be cut: regions that read one tensor from outside, and of which outside one tensor is read."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.onnx_models.onnx_subgraphs import reads

MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor whose first axis is the batch."""

    shape: tuple[int, ...]
    """of one sample"""
    kind: int
    """onnx.TensorProto's number of its type"""

    @property
    def is_end(self) -> bool:
        """Whether a part on Akida can begin or end there: floats in rows, signals or maps."""
        return self.kind == onnx_files.FLOAT and 1 <= len(self.shape) <= 3


@dataclass(frozen=True)
class Region:
    """Nodes of a graph, by their places in it, between two tensors."""

    reads: str
    gives: str
    nodes: frozenset[int]


class Cuttable:
    """A float model with one input and one output, and where it can be cut.

    Nodes that depend on no input are weights: they go with whoever reads them, and count nowhere.
    """

    def __init__(self, model: onnx_files.Model, tensors: Mapping[str, Tensor]) -> None:
        """`tensors`: those that hold a value for each sample, in running order, the input among them."""
        self.model, self.tensors = model, tensors
        self._weights = {one.name: tuple(one.dims) for one in model.graph.initializer}
        self.nodes: list[Any] = list(model.graph.node)
        self.input = onnx_files.only_input(model, "the simplified model").name
        self.output = onnx_files.only_output(model, "the simplified model").name
        self.makers = {name: index for index, node in enumerate(self.nodes) for name in node.output if name}
        self.live: list[int] = []
        self._read: dict[int, frozenset[str]] = {}
        """live node -> live tensors that it reads"""
        self._before: dict[int, int] = {}
        """live node -> it and all that it depends on, a bit each"""
        self._behind: dict[int, int] = {}
        """live node -> its readers, a bit each"""
        known = {self.input}
        for index, node in enumerate(self.nodes):
            found = frozenset(name for name in reads(node) if name in known)
            if not found:
                continue
            self.live.append(index)
            known.update(name for name in node.output if name)
            self._read[index] = found
            self._before[index] = 1 << index
            for name in found - {self.input}:
                self._before[index] |= self._before[self.makers[name]]
                self._behind[self.makers[name]] = self._behind.get(self.makers[name], 0) | 1 << index

    def read_by(self, node: int) -> frozenset[str]:
        """The tensors that depend on the input which a live node reads."""
        return self._read[node]

    def macs(self, nodes: Collection[int]) -> int:
        """Multiplications of one sample in these nodes, as the float graph has them."""
        return sum(self._macs(self.nodes[index]) for index in nodes)

    def largest(self, within: Collection[int]) -> list[Region]:
        """The regions of these nodes alone that no other such region holds."""
        allowed = sum(1 << index for index in within)
        found: list[tuple[int, Region]] = []
        ends = [name for name, tensor in self.tensors.items() if tensor.is_end]
        for gives in [name for name in ends if self.makers.get(name) in within]:
            for start in ends:
                mask = self._between(start, gives, allowed)
                if mask and not any(mask & ~held == 0 for held, _ in found):
                    found = [(held, one) for held, one in found if held & ~mask]
                    found.append((mask, Region(start, gives, frozenset(_bits(mask)))))
        return [one for _, one in found]

    def _between(self, start: str, gives: str, allowed: int) -> int:
        """The nodes of the region as bits; 0 if there is none, or it goes beyond those allowed."""
        end = self.makers[gives]
        first = self.makers.get(start)
        if first is not None and not self._before[end] >> first & 1:
            return 0
        mask = self._before[end] & ~(self._before[first] if first is not None else 0)
        if not mask or mask & ~allowed:
            return 0
        for index in _bits(mask):
            if any(name != start and not self._made_in(name, mask) for name in self._read[index]):
                return 0
            if index == end:
                continue
            others = len([name for name in self.nodes[index].output if name]) > 1
            if others or self.output in self.nodes[index].output or self._behind.get(index, 0) & ~mask:
                return 0
        return mask

    def _macs(self, node: Any) -> int:
        if node.op_type not in MULTIPLYING:
            return 0
        weight = self._weights.get(node.input[1]) or self._shape(node.input[1])
        made, read = self._shape(node.output[0]), self._shape(node.input[0])
        if node.op_type == "Conv":
            return math.prod(made) * math.prod(weight[1:])
        if node.op_type == "ConvTranspose":
            return math.prod(read) * math.prod(weight[1:])
        return math.prod(made) * read[-1] if made and read else 0

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape if name in self.tensors else ()

    def _made_in(self, name: str, mask: int) -> bool:
        return name != self.input and bool(mask >> self.makers[name] & 1)


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
