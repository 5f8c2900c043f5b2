"""A compiled Cairo program, and the few facts about its instructions that others need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PRIME = 2**251 + 17 * 2**192 + 1
"""of the field whose elements Cairo computes with"""


@dataclass(frozen=True)
class Casm:
    """What StarkWare's compilers make of a workspace: one external entry point that takes and gives felts."""

    bytecode: tuple[int, ...]
    hints: dict[int, list[dict[str, Any]]]
    """program counter -> the compiler's hints there, as its JSON names them"""
    pythonic_hints: dict[int, list[str]]
    """the same for StarkWare's Python VM"""
    entry_point: int
    """program counter of the entry point"""
    builtins: tuple[str, ...]
    """in the order in which the entry point takes their pointers"""
    functions: dict[int, str]
    """program counter -> full name of the Cairo function that starts there"""
    sierra_felts: int
    """size of the intermediate program"""

    @property
    def bytecode_felts(self) -> int:
        """Size of the program, which Starknet and other users limit."""
        return len(self.bytecode)


def signed(felt: int) -> int:
    """The field element as a number around zero."""
    return felt - PRIME if felt > PRIME // 2 else felt


def call_sites(bytecode: tuple[int, ...]) -> list[tuple[int, int]]:
    """Program counters of relative calls with an immediate, and those they lead to.

    Source of the encoding: Goldberg, Papini, Riabzev, "Cairo: a Turing-complete STARK-friendly CPU architecture", 4.4.
    """
    return [(pc, pc + signed(bytecode[pc + 1])) for pc, word in _instructions(bytecode) if (word >> 60) & 7 == 1]


def _instructions(bytecode: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    pc = 0
    while pc < len(bytecode):
        yield pc, bytecode[pc]
        pc += 2 if (bytecode[pc] >> 50) & 1 else 1  # an immediate follows
