"""Several sums in one felt: each has a slot of its own bits, and one multiplication serves them all.

A felt has 251 bits, a sum of FP16x16 products seldom needs more than 45. With weights w0, w1, ... of several outputs
for one input x, packed as w0 + w1 * 2**s + ..., adding x * packed adds to all sums at once. That is exact in the field
as long as every sum stays within its slot, which `calibrate` proves. In the end an offset makes all sums positive, the
felt is split into two u128, and the builtin bitwise cuts out each slot without its fraction.
"""

from __future__ import annotations

from dataclasses import dataclass

LOW, HIGH = 128, 123
"""bits of the two halves of a felt that slots may use: a felt is below 2**251"""
WIDEST = 123
"""bits of the widest slot"""


@dataclass(frozen=True)
class Slots:
    """Slots of `width` bits: as many as fit the low 128 bits, then as many as fit the rest."""

    width: int

    @property
    def count(self) -> int:
        """Slots of one felt."""
        return LOW // self.width + HIGH // self.width

    def position(self, slot: int) -> int:
        """The lowest bit of a slot."""
        low = LOW // self.width
        return slot * self.width if slot < low else LOW + (slot - low) * self.width

    def in_high_half(self, slot: int) -> bool:
        """Whether the slot lies in the upper u128."""
        return slot >= LOW // self.width

    def shift(self, slot: int) -> int:
        """The slot's lowest bit within its u128."""
        return self.position(slot) % LOW

    @property
    def offset(self) -> int:
        """What is added to a sum so that it is not negative: half of what the slot holds."""
        return 1 << (self.width - 1)

    def pack(self, numbers: list[int]) -> int:
        """The sum of the numbers, each times two to the power of its slot's position; may be negative."""
        return sum(number << self.position(slot) for slot, number in enumerate(numbers))


def narrowest(bound: int) -> Slots:
    """Slots for sums whose absolute value, rounding included, stays at or below `bound`."""
    # -2**(w-1) <= sum < 2**(w-1)
    return Slots(bound.bit_length() + 1)
