"""Writes the functions that take rescaled sums out of a felt: `split_WIDTH_DROP_USED`, see `slots`."""

from __future__ import annotations

from recast.stages.targets.cairo.ir.slots import Slots
from recast.stages.targets.cairo.syntax.casm import PRIME


def text(name: str) -> str:
    """The Cairo of the function `name`: felt -> the first USED slots, each without its DROP lowest bits.

    `split_relu_...` gives zero for negative results; `split_shared_...` is called, and not written in place.
    """
    *kind, width, drop, used = name.removeprefix("split").strip("_").split("_")
    slots, relu = Slots(int(width)), "relu" in kind
    inline = "never" if "shared" in kind else "always"
    dropped, count = int(drop), int(used)
    lines = []
    for slot in range(count):
        half = "high" if slots.in_high_half(slot) else "low"
        shift = slots.shift(slot) + dropped
        mask = ((1 << (slots.width - dropped)) - 1) << shift
        lines.append(f"let (y{slot}, _, _) = bitwise({half}, {mask:#x});")
        inverse = pow(2, -shift, PRIME)
        offset = slots.offset >> dropped
        if relu:
            lines += [
                f"let y{slot} = match u128_overflowing_sub(y{slot}, {offset << shift:#x}) {{",
                f"    Result::Ok(above) => u128_to_felt252(above) * {inverse:#x},",
                "    Result::Err(_) => 0,",
                "};",
            ]
        else:
            lines.append(f"let y{slot} = u128_to_felt252(y{slot}) * {inverse:#x} - {offset:#x};")
    results = [f"y{slot}" for slot in range(count)]
    given = f"({', '.join(results)})" if count > 1 else results[0]
    kinds = f"({', '.join(['felt252'] * count)})" if count > 1 else "felt252"
    body = "\n".join(f"    {line}" for line in [*lines, given])
    return f"""\
#[inline({inline})]
fn {name}(sums: felt252) -> {kinds} {{
    let (high, low) = halves(sums);
{body}
}}
"""
