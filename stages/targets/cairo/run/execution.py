"""What a run of a compiled program gives, whichever VM ran it, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Execution:
    """The result of one call of the entry point, and what a proof of it would have to cover."""

    result: tuple[int, ...]
    """the array the entry point returns, as felts (0 <= felt < PRIME)"""
    steps: int
    memory_cells: int
    """cells that were written, in all segments"""
    range_checks: int
    bitwise: int
    """uses of the bitwise builtin"""
    steps_at: dict[int, int] = field(default_factory=dict)
    """program counter -> how often the instruction there ran"""

    cells_at: dict[int, int] = field(default_factory=dict)
    """program counter -> memory cells that were first written while the instruction there ran

    A cell belongs to the instruction before which it had no value and after which it has one: written by the
    instruction itself (a call writes two, the way back), by a hint in front of it, or deduced by a builtin when it is
    first read. A cell that a builtin could deduce and that nothing reads is no cell of memory, and counts nowhere. What
    stands before the first instruction (the program and the two words after it, call data, the costs of builtins, and
    the entry point's arguments) belongs to none; it is what the sum of these lacks of `memory_cells`.
    """


def by_function(counts: Mapping[int, int], functions: Mapping[int, str]) -> dict[str, int]:
    """Counts by program counter -> by function, without those of the functions it calls; see `Casm.functions`."""
    starts = sorted(functions)
    found: dict[str, int] = {}
    at = 0
    for pc in sorted(counts):
        while at + 1 < len(starts) and starts[at + 1] <= pc:
            at += 1
        name = functions[starts[at]]
        found[name] = found.get(name, 0) + counts[pc]
    return found
