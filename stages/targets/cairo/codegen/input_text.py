"""Writes src/input.cairo from raw numbers."""

from __future__ import annotations

from collections.abc import Sequence

CHUNK = 64
"""appends in one function: the compiler's time grows faster than a function"""


def text(raw: Sequence[int]) -> str:
    """`input() -> Array<felt252>` with these numbers."""
    parts = [raw[start : start + CHUNK] for start in range(0, len(raw), CHUNK)]
    lines = ["use core::array::ArrayTrait;", "use core::internal::revoke_ap_tracking;", ""]
    # the compiler cannot reach 2^15 cells back, which so many appends may write
    lines += ["fn input() -> Array<felt252> {", "    revoke_ap_tracking();"]
    lines += ["    let mut data = ArrayTrait::new();", *(f"    part{index}(ref data);" for index in range(len(parts)))]
    lines += ["    data", "}", ""]
    for index, part in enumerate(parts):
        lines += ["#[inline(never)]", f"fn part{index}(ref data: Array<felt252>) {{"]
        lines += [*(f"    data.append({number});" for number in part), "}", ""]
    return "\n".join(lines)
