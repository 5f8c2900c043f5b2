"""Carries the input's interval through a program: what every tensor can be, for every input within its range."""

from __future__ import annotations

from recast.stages.base import StageError
from recast.stages.targets.cairo.ir.intervals import Interval
from recast.stages.targets.cairo.ir.program import Program
from recast.stages.targets.cairo.ops.operation import OutOfRange
from recast.stages.targets.cairo.ops.registry import OPERATIONS


def run(program: Program, low: int, high: int) -> dict[str, Interval]:
    """Tensor -> its interval, if every element of the input lies in [low, high], raw.

    Raises StageError naming the first node whose sums or results cannot be proven to be held, and a format that would.
    """
    import numpy as np

    shape = program.shapes[program.input]
    bounds = {program.input: Interval(np.full(shape, float(low)), np.full(shape, float(high)))}
    too_large = None
    for node in program.nodes:
        try:
            found = OPERATIONS[node.op].bounds(node, program, [bounds[name] for name in node.inputs])
        except OutOfRange as error:
            if too_large is not None:
                break  # what lies behind a node that overflows says no more
            raise StageError(
                f"node {node.name} ({node.op}) can overflow {program.format.name}: {error}", _remedy(program, error)
            ) from error
        bounds[node.output] = found
        if found.largest >= program.format.limit and too_large is None:
            too_large = node
    if too_large is not None:
        reached = bounds[too_large.output].largest / program.format.one
        bits = max((one.largest >> program.format.fraction).bit_length() for one in bounds.values())
        raise StageError(
            f"node {too_large.name} ({too_large.op}) can overflow {program.format.name}: its results can reach "
            f"{reached:.6g}, and the format holds numbers below {program.format.largest}",
            f"set quantize.format to FP{bits}x{program.format.fraction}, or train with smaller weights",
        )
    return bounds


def _remedy(program: Program, error: OutOfRange) -> str:
    if error.integer_bits is not None:
        return f"set quantize.format to FP{error.integer_bits}x{program.format.fraction}"
    return "set quantize.format to one with fewer bits behind the point, or train with smaller weights"
