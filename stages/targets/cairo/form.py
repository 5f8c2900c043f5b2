"""The integer program as one form of the model, for the comparison layer by layer of `comparison`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.parity.forms.form import Form, Names
from recast.stages.targets.cairo.ir.program import Program
from recast.stages.targets.cairo.ops.registry import OPERATIONS
from recast.stages.targets.cairo.passes import interpreter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.parity.forms.form import Arrays, Given


class MirrorForm(Form):
    """Tensors of the mirror, as floats; a layer alone is given the other form's values, rounded to the format."""

    runs = "the program's integers, computed by numpy and not by Cairo"

    def __init__(self, program: Program) -> None:
        self._program = program
        self._names = Names()
        self.output = program.output

    @property
    def tensors(self) -> list[str]:
        """The input, and every node's output in running order."""
        own = [self._program.input, *(node.output for node in self._program.nodes)]
        return [self._names.of(name) for name in own]

    def values(self, x: NDArray[Any]) -> Arrays:
        """Every tensor for normalised samples (N, *shape), float64."""
        found = interpreter.run(self._program, self._program.format.raw(x), keep=True)
        return {self._names.of(name): self._program.format.value(value) for name, value in found.items()}

    def alone(self, x: NDArray[Any], given: Given) -> Arrays | None:
        """Each node's output from the given values of its inputs."""
        raw = {name: self._program.format.raw(value) for name, value in given.items()}
        made: Arrays = {}
        for node in self._program.nodes:
            shown, sources = self._names.of(node.output), [self._names.of(name) for name in node.inputs]
            if shown in given and all(name in raw for name in sources):
                value = OPERATIONS[node.op].mirror(node, self._program, [raw[name] for name in sources])
                made[shown] = self._program.format.value(value)
        return made

    def held(self, given: Given) -> Arrays:
        """Rounded to the format's fractions."""
        fixed = self._program.format
        return {name: fixed.value(fixed.raw(value)).astype(value.dtype) for name, value in given.items()}

    def inputs_of(self, tensor: str, shown: Sequence[str]) -> tuple[list[str], list[str]]:
        """The node's inputs that are shown, back to the first that are, and the operations between."""
        makers = {self._names.of(node.output): node for node in self._program.nodes}
        found: list[str] = []
        operations: list[str] = []
        pending = [tensor]
        while pending:
            node = makers.get(pending.pop())
            if node is None:
                continue
            operations.append(node.op)
            for name in (self._names.of(one) for one in node.inputs):
                (found if name in shown else pending).append(name)
        return list(dict.fromkeys(found)), operations[::-1]

    @property
    def called(self) -> Mapping[str, str]:
        """What tensors are called, by their names in the program, as far as those differ."""
        return self._names.changed

    def rename(self, names: Mapping[str, str]) -> None:
        """Call tensors as the form before calls them."""
        self._names.rename(names)
        self.output = self._names.of(self._program.output)
