"""Where buffers lie: two that live at the same time never overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recast.stages.compilers.onnx_c.graph import ITEM_SIZE

ALIGNMENT = 64  # bytes: a cache line, and more than any SIMD load needs


@dataclass
class Buffer:
    """Memory for one tensor (and its aliases) or scratch; `offset` and `elements` in elements of the pool's type."""

    name: str
    c_type: str
    elements: int
    start: int
    end: int
    geometry: tuple[Any, ...] = ()
    bordered: bool = False
    offset: int = -1

    @property
    def reserved(self) -> int:
        """Elements up to the next aligned buffer."""
        unit = ALIGNMENT // ITEM_SIZE[self.c_type]
        return -(-max(1, self.elements) // unit) * unit


def place(buffers: list[Buffer]) -> dict[str, int]:
    """Give each buffer an offset: the largest first, each into the smallest gap that holds it; the pools' sizes.

    A bordered buffer first looks for a place where one of equal geometry lay: the border is zero there already.
    """
    pools: dict[str, int] = {}
    done: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda each: (-each.reserved * ITEM_SIZE[each.c_type], each.start, each.name)):
        pool = [each for each in done if each.c_type == buffer.c_type]
        busy = sorted(
            (each.offset, each.offset + each.reserved)
            for each in pool
            if each.start <= buffer.end and buffer.start <= each.end
        )
        buffer.offset = _offset(buffer, pool, busy)
        done.append(buffer)
        pools[buffer.c_type] = max(pools.get(buffer.c_type, 0), buffer.offset + buffer.reserved)
    return dict(sorted(pools.items()))


def _offset(buffer: Buffer, pool: list[Buffer], busy: list[tuple[int, int]]) -> int:
    if buffer.bordered:
        for twin in sorted({each.offset for each in pool if each.geometry == buffer.geometry}):
            if all(twin + buffer.reserved <= low or high <= twin for low, high in busy):
                return twin
    best, best_gap, free = -1, 0, 0
    for low, high in busy:
        gap = low - free
        if gap >= buffer.reserved and (best < 0 or gap < best_gap):
            best, best_gap = free, gap
        free = max(free, high)
    return best if best >= 0 else free


def live_overlaps(buffers: list[Buffer]) -> list[tuple[str, str]]:
    """Pairs of buffers that live at the same time and share memory: none in a sound plan."""
    found = []
    for i, one in enumerate(buffers):
        for other in buffers[i + 1 :]:
            together = one.start <= other.end and other.start <= one.end
            apart = one.offset + one.reserved <= other.offset or other.offset + other.reserved <= one.offset
            if one.c_type == other.c_type and together and not apart:
                found.append((one.name, other.name))
    return found
