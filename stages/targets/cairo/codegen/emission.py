"""A program as it is emitted, before it is text: its layers in running order, and where each tensor lies."""

from __future__ import annotations

from dataclasses import dataclass, field

from recast.stages.targets.cairo.ir.intervals import Interval
from recast.stages.targets.cairo.ir.program import Program
from recast.stages.targets.cairo.ir.view import View
from recast.stages.targets.cairo.syntax.layer import Layer


@dataclass(frozen=True)
class Written:
    """A layer, the arrays its function takes, the array it gives, and the nodes it stands for."""

    layer: Layer
    takes: tuple[str, ...]
    gives: str
    nodes: tuple[str, ...]


@dataclass
class Emission:
    """All layers in running order, and where each tensor lies."""

    program: Program
    bounds: dict[str, Interval]
    input_rows: list[list[int]] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    views: dict[str, View] = field(default_factory=dict)

    def call_data(self) -> list[int]:
        """Weights that are passed behind the input, in the order of the layers."""
        return [felt for one in self.written for row in one.layer.weight_rows for felt in row]
