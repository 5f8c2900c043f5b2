"""What a run of a compiled program gives, whichever VM ran it, and what it costs."""

from __future__ import annotations

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

    def steps_by_function(self, functions: dict[int, str]) -> dict[str, int]:
        """Steps of each function's own instructions, without those of the functions it calls; see `Casm.functions`."""
        starts = sorted(functions)
        found: dict[str, int] = {}
        at = 0
        for pc in sorted(self.steps_at):
            while at + 1 < len(starts) and starts[at + 1] <= pc:
                at += 1
            name = functions[starts[at]]
            found[name] = found.get(name, 0) + self.steps_at[pc]
        return found
