"""Runs a program in NumPy integers: bit for bit what the emitted Cairo computes, for thousands of samples at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.targets.cairo.ir.program import Program
from recast.stages.targets.cairo.ops.registry import OPERATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 250
"""samples at once, so that the patches of a convolution stay small"""


def run(program: Program, x: NDArray[Any], keep: bool = False) -> dict[str, NDArray[Any]]:
    """Raw inputs (N, *shape), int64 -> raw tensors (N, *shape): the output, or with `keep` every tensor."""
    import numpy as np

    parts = [_batch(program, x[start : start + BATCH], keep) for start in range(0, len(x), BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _batch(program: Program, x: NDArray[Any], keep: bool) -> dict[str, NDArray[Any]]:
    values = {program.input: x}
    for node in program.nodes:
        values[node.output] = OPERATIONS[node.op].mirror(node, program, [values[name] for name in node.inputs])
    return values if keep else {program.output: values[program.output]}
