"""The integer program as one form of the model, for the comparison layer by layer of `stages.hops`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stages.cairo import mirroring
from stages.cairo.ops.registry import OPERATIONS
from stages.cairo.program import Program

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stages.onnx_form import Arrays, Given


class MirrorForm:
    """Tensors of the mirror, as floats; a layer alone is given the other form's values, rounded to the format."""

    runs = "the program's integers, computed by numpy and not by Cairo"

    def __init__(self, program: Program) -> None:
        self._program = program
        self._called: dict[str, str] = {}
        self.output = program.output

    @property
    def tensors(self) -> list[str]:
        """The input, and every node's output in running order."""
        own = [self._program.input, *(node.output for node in self._program.nodes)]
        return [self._called.get(name, name) for name in own]

    def values(self, x: NDArray[Any]) -> Arrays:
        """Every tensor for normalised samples (N, *shape), float64."""
        found = mirroring.run(self._program, self._program.format.raw(x), keep=True)
        return {self._called.get(name, name): self._program.format.value(value) for name, value in found.items()}

    def alone(self, x: NDArray[Any], given: Given) -> Arrays | None:
        """Each node's output from the given values of its inputs."""
        raw = {name: self._program.format.raw(value) for name, value in given.items()}
        made: Arrays = {}
        for node in self._program.nodes:
            shown, sources = self._called.get(node.output, node.output), [self._called.get(n, n) for n in node.inputs]
            if shown in given and all(name in raw for name in sources):
                value = OPERATIONS[node.op].mirror(node, self._program, [raw[name] for name in sources])
                made[shown] = self._program.format.value(value)
        return made

    def inputs_of(self, tensor: str, shown: Sequence[str]) -> tuple[list[str], list[str]]:
        """The node's inputs that are shown, back to the first that are, and the operations between."""
        makers = {self._called.get(node.output, node.output): node for node in self._program.nodes}
        found: list[str] = []
        operations: list[str] = []
        pending = [tensor]
        while pending:
            node = makers.get(pending.pop())
            if node is None:
                continue
            operations.append(node.op)
            for name in (self._called.get(one, one) for one in node.inputs):
                (found if name in shown else pending).append(name)
        return list(dict.fromkeys(found)), operations[::-1]

    def rename(self, names: Mapping[str, str]) -> None:
        """Call tensors as the form before calls them."""
        own = {shown: name for name, shown in self._called.items()}
        for before, after in names.items():
            self._called[own.get(before, before)] = after
        self.output = self._called.get(self._program.output, self._program.output)
