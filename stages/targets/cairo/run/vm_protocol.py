"""What goes in and out of the project's Cairo VM: 64-bit little-endian numbers, as csrc/main.c says."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recast.stages.base import StageError
from recast.stages.targets.cairo.run.reference_vm import GAS
from recast.stages.targets.cairo.syntax.casm import Casm

FORMAT = b"RECASTVM"
BUILTINS = ("range_check", "bitwise")
"""in the order of `builtin_kind` in vm/builtins.h"""
HINTS = {
    "AllocSegment": ("dst",),
    "TestLessThan": ("lhs", "rhs", "dst"),
    "TestLessThanOrEqual": ("lhs", "rhs", "dst"),
    "DivMod": ("lhs", "rhs", "quotient", "remainder"),
    "WideMul128": ("lhs", "rhs", "high", "low"),
    "AllocConstantSize": ("size", "dst"),
    "LinearSplit": ("value", "scalar", "max_x", "x", "y"),
}
"""the compiler's name -> its operands in our order; in the order of `hint_kind` in vm/hints.h"""
OPERANDS = 5
WORDS_AFTER = 2
"""that Starknet lays after a program; one of them is run"""
CELL, DOUBLE, IMMEDIATE, SUM, PRODUCT = range(5)
POINTER, NONE = 1 << 63, 1 << 62
"""of a value's highest 64 bits, as in vm/memory.h"""
REMEDY = "this is a fault of the cairo target: emit what its VM knows, or teach it"

Pointer = tuple[int, int]
"""segment and offset"""


@dataclass(frozen=True)
class Failure:
    """The VM stopped: an assertion of the program fails, or the program is malformed."""

    pc: int
    steps: int
    reason: str


@dataclass(frozen=True)
class Finished:
    """The entry point returned, with its result or with a panic's data."""

    panicked: bool
    steps: int
    memory_cells: int
    range_checks: int
    bitwise: int
    result: tuple[int, ...]
    steps_at: dict[int, int]
    cells_at: dict[int, int]
    memory: tuple[dict[int, int | Pointer], ...]
    """of each segment the values by offset; empty if the memory was not asked for"""


def write_program(casm: Casm, most_steps: int, want_memory: bool) -> bytes:
    """The program and its hints. Raises StageError naming a builtin or a hint that the VM does not know."""
    unknown = sorted(set(casm.builtins) - set(BUILTINS))
    if unknown:
        raise StageError(f"the program needs the builtin {unknown[0]}, which the Cairo VM does not know", REMEDY)
    hints = [_hint(pc, hint) for pc in sorted(casm.hints) for hint in casm.hints[pc]]
    return b"".join(
        [
            FORMAT,
            write_run(casm.bytecode),
            _numbers(casm.entry_point, len(casm.builtins), *(BUILTINS.index(name) for name in casm.builtins)),
            _numbers(GAS, most_steps, int(want_memory), len(hints)),
            *hints,
        ]
    )


def write_run(felts: Sequence[int]) -> bytes:
    """A size and felts."""
    return _numbers(len(felts)) + b"".join(felt.to_bytes(32, "little") for felt in felts)


def read_outcomes(answer: bytes, casm: Casm, count: int, want_memory: bool) -> list[Finished | Failure]:
    """What the VM says of `count` inputs."""
    reader = _Reader(answer)
    found = [_finished(reader, casm, want_memory) if reader.number() else _failure(reader) for _ in range(count)]
    if reader.at != len(answer):
        raise StageError("the Cairo VM says more than was asked", REMEDY)
    return found


def _failure(reader: _Reader) -> Failure:
    pc, steps, size = reader.number(), reader.number(), reader.number()
    return Failure(pc, steps, reader.take(size).decode(errors="replace"))


def _finished(reader: _Reader, casm: Casm, want_memory: bool) -> Finished:
    panicked, steps, cells, range_checks, bitwise = (reader.number() for _ in range(5))
    result = tuple(value for _, value in sorted(reader.values().items()) if isinstance(value, int))
    steps_at, cells_at = (reader.counts(len(casm.bytecode) + WORDS_AFTER) for _ in range(2))
    return Finished(
        panicked=bool(panicked),
        steps=steps,
        memory_cells=cells,
        range_checks=range_checks,
        bitwise=bitwise,
        result=result,
        steps_at=steps_at,
        cells_at=cells_at,
        memory=tuple(reader.values() for _ in range(reader.number())) if want_memory else (),
    )


class _Reader:
    """Takes an answer apart, from its beginning on."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.at = 0

    def take(self, size: int) -> bytes:
        self.at += size
        return self.answer[self.at - size : self.at]

    def numbers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}Q", self.take(8 * count))

    def number(self) -> int:
        return self.numbers(1)[0]

    def counts(self, size: int) -> dict[int, int]:
        """What was counted at each program counter, where it is not 0."""
        return {pc: count for pc, count in enumerate(self.numbers(size)) if count}

    def values(self) -> dict[int, int | Pointer]:
        """The values of a segment that were written, by offset."""
        found: dict[int, int | Pointer] = {}
        for offset in range(self.number()):
            limbs = self.take(32)
            low, segment, _, high = struct.unpack("<4Q", limbs)
            if high & POINTER:
                found[offset] = (segment, low)
            elif not high & NONE:
                found[offset] = int.from_bytes(limbs, "little")
        return found


def _numbers(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def _hint(pc: int, hint: dict[str, Any]) -> bytes:
    ((name, operands),) = hint.items()
    if name not in HINTS or set(operands) != set(HINTS[name]):
        raise StageError(f"the program needs the hint {name} at {pc}, which the Cairo VM does not know", REMEDY)
    written = [_operand(name, operands[key]) for key in HINTS[name]]
    written += [_pack(IMMEDIATE)] * (OPERANDS - len(written))
    return _numbers(pc, list(HINTS).index(name)) + b"".join(written)


def _operand(name: str, operand: dict[str, Any]) -> bytes:
    """`operand` is a cell to write ({register, offset}) or an expression over cells, in the compiler's JSON."""
    if "register" in operand:
        return _pack(CELL, operand)
    ((kind, content),) = operand.items()
    if kind == "Deref":
        return _pack(CELL, content)
    if kind == "DoubleDeref":
        cell, offset = content
        return _pack(DOUBLE, cell, offset=offset)
    if kind == "Immediate":
        return _pack(IMMEDIATE, immediate=int(content, 16))
    if kind == "BinOp":
        what = {"Add": SUM, "Mul": PRODUCT}[content["op"]]
        ((other, right),) = content["b"].items()
        if other == "Immediate":
            return _pack(what, content["a"], immediate=int(right, 16))
        return _pack(what, content["a"], right)
    raise StageError(f"the hint {name} has an operand {kind}, which the Cairo VM does not know", REMEDY)


def _pack(
    kind: int,
    a: dict[str, Any] | None = None,
    b: dict[str, Any] | None = None,
    offset: int = 0,
    immediate: int = 0,
) -> bytes:
    of_fp_a, of_fp_b = (int(cell is not None and cell["register"] == "FP") for cell in (a, b))
    head = struct.pack(
        "<QQqQQq", kind, of_fp_a, a["offset"] if a else 0, b is not None, of_fp_b, b["offset"] if b else offset
    )
    return head + immediate.to_bytes(32, "little")
