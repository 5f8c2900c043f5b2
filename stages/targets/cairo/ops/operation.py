"""What an operation of this target is: how it is read, what it computes in integers, its bounds, and its Cairo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.intervals import Interval
from recast.stages.targets.cairo.ir.program import Node, Program

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.targets.cairo.syntax.layer import Layer


@dataclass(frozen=True)
class Source:
    """An ONNX node, its attributes and constants as numbers, with shapes of one sample (batch axis dropped)."""

    name: str
    op: str
    attributes: Mapping[str, Any]
    constants: Mapping[int, NDArray[Any]]
    """input number -> value, for those inputs that do not depend on the model's input"""
    inputs: tuple[str, ...]
    """the tensors that do, in order"""
    shapes: tuple[tuple[int, ...], ...]
    """their shapes"""
    shape: tuple[int, ...]
    """of the output"""


@dataclass(frozen=True)
class Read:
    """What `read` keeps of a node. Weights get the format's fraction bits, biases those and the weights'."""

    attributes: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    biases: dict[str, NDArray[Any]] = field(default_factory=dict)
    weight_fraction: int | None = None
    """fraction bits of the weights, if not the format's"""


class Operation(Protocol):
    """One kind of node. Arrays are raw integers: int64, or Python's integers where int64 may not hold them."""

    def read(self, source: Source, fmt: Format) -> Read:
        """Check an ONNX node; `Unsupported` (see `onnx_import`) with what is not possible."""

    def bounds(self, node: Node, program: Program, inputs: Sequence[Interval]) -> Interval:
        """The output's interval for every input within theirs; `OutOfRange` (see `calibrate`) if it cannot be held."""

    def mirror(self, node: Node, program: Program, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """(N, *shape) of each input -> (N, *shape) of the output: exactly what the emitted Cairo computes."""

    def write(self, node: Node, program: Program, layer: Layer) -> None:
        """Write the node's Cairo into the layer."""


class Unsupported(Exception):
    """A node has no counterpart here: the message says what of it."""


class OutOfRange(Exception):
    """A node's result cannot be proven to be held: the message says what it can reach; `bits` it would take."""

    def __init__(self, message: str, integer_bits: int | None = None) -> None:
        super().__init__(message)
        self.integer_bits = integer_bits
        """bits before the point that a format needs to hold it; None if no format would do"""
