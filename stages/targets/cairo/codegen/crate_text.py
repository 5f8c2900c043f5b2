"""Writes the workspace's own fixed-point crate: only the functions that the model uses."""

from __future__ import annotations

from collections.abc import Iterable

from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.syntax import split_text
from recast.stages.targets.cairo.syntax.scalar import (
    Exponential,
    Logarithm,
    hyperbolic_tangent_text,
    shift_text,
    sigmoid_text,
)

HEAD = """\
// {name}: a number v is the felt v * 2^{fraction}; negative ones are the field's. Written by Recast for this model.
use core::integer::{{
    U128sFromFelt252Result, bitwise, u128_is_zero, u128_overflowing_sub, u128_safe_divmod, u128_to_felt252,
    u128s_from_felt252
}};
use core::option::OptionTrait;
use core::result::Result;
use core::zeroable::IsZeroResult;
"""
"""the imports serve whichever functions follow; the compiler does not mind those that are not used"""

FIXED = {
    "low": """\
// A felt that is known to be below 2^128.
#[inline(always)]
fn low(x: felt252) -> u128 {
    match u128s_from_felt252(x) {
        U128sFromFelt252Result::Narrow(value) => value,
        U128sFromFelt252Result::Wide((_, _)) => panic_with_felt252('number out of bounds'),
    }
}
""",
    "halves": """\
// The upper and the lower half of a felt.
#[inline(always)]
fn halves(x: felt252) -> (u128, u128) {
    match u128s_from_felt252(x) {
        U128sFromFelt252Result::Narrow(low) => (0, low),
        U128sFromFelt252Result::Wide((high, low)) => (high, low),
    }
}
""",
    "maximum": """\
#[inline(always)]
fn maximum(a: felt252, b: felt252) -> felt252 {
    match u128s_from_felt252(a - b) {
        U128sFromFelt252Result::Narrow(_) => a,
        U128sFromFelt252Result::Wide((_, _)) => b,
    }
}
""",
    "minimum": """\
#[inline(always)]
fn minimum(a: felt252, b: felt252) -> felt252 {
    match u128s_from_felt252(a - b) {
        U128sFromFelt252Result::Narrow(_) => b,
        U128sFromFelt252Result::Wide((_, _)) => a,
    }
}
""",
    "larger": """\
// The larger of two numbers and its position; of equal ones the first.
#[inline(always)]
fn larger(a: felt252, i: felt252, b: felt252, j: felt252) -> (felt252, felt252) {
    match u128s_from_felt252(a - b) {
        U128sFromFelt252Result::Narrow(_) => (a, i),
        U128sFromFelt252Result::Wide((_, _)) => (b, j),
    }
}
""",
    "relu": """\
#[inline(always)]
fn relu(x: felt252) -> felt252 {
    match u128s_from_felt252(x) {
        U128sFromFelt252Result::Narrow(_) => x,
        U128sFromFelt252Result::Wide((_, _)) => 0,
    }
}
""",
    "ratio": """\
// a / b for 0 <= a < 2^126 and 0 < b < 2^126, rounded to the nearest integer, ties up.
fn ratio(a: felt252, b: felt252) -> felt252 {
    match u128_is_zero(low(b + b)) {
        IsZeroResult::Zero => panic_with_felt252('division by zero'),
        IsZeroResult::NonZero(divisor) => {
            let (quotient, _) = u128_safe_divmod(low(a + a + b), divisor);
            u128_to_felt252(quotient)
        },
    }
}
""",
    "divide": """\
// a / b, rounded to the nearest integer, ties away from zero.
fn divide(a: felt252, b: felt252) -> felt252 {
    match u128s_from_felt252(b) {
        U128sFromFelt252Result::Narrow(_) => over(a, b),
        U128sFromFelt252Result::Wide((_, _)) => over(0 - a, 0 - b),
    }
}

fn over(a: felt252, b: felt252) -> felt252 {
    match u128s_from_felt252(a) {
        U128sFromFelt252Result::Narrow(_) => ratio(a, b),
        U128sFromFelt252Result::Wide((_, _)) => 0 - ratio(0 - a, b),
    }
}
""",
}
MOST_IN_PLACE = 4
"""numbers of which the largest is found in place: a window of 2x2"""
NEEDS = {"ratio": {"low"}, "divide": {"ratio"}}


def text(fmt: Format, names: Iterable[str]) -> str:
    """lib.cairo with the functions of these names and all that they call."""
    written: dict[str, str] = {}
    pending = sorted(set(names), reverse=True)
    while pending:
        name = pending.pop()
        if name in written:
            continue
        written[name], needs = _function(fmt, name)
        pending += sorted(needs, reverse=True)
    return "\n".join([HEAD.format(name=fmt.name, fraction=fmt.fraction), *(written[name] for name in sorted(written))])


def _function(fmt: Format, name: str) -> tuple[str, set[str]]:
    """The text of a function and the names of those it calls."""
    if name in FIXED:
        return FIXED[name], NEEDS.get(name, set())
    if name.startswith("split"):
        return split_text.text(name), {"halves"}
    if name.startswith("largest_"):
        return largest_text(int(name.removeprefix("largest_"))), {"maximum"}
    if name.startswith("shift_"):
        return shift_text(int(name.removeprefix("shift_"))), {"low"}
    if name == "leaky_relu":
        return LEAKY_RELU.format(shift=f"shift_{fmt.fraction}"), {f"shift_{fmt.fraction}"}
    if name == "sigmoid":
        return sigmoid_text(fmt), {"exp", "ratio"}
    if name == "tanh":
        return hyperbolic_tangent_text(fmt), {"exp", "ratio"}
    return Exponential(fmt).text() if name == "exp" else Logarithm(fmt).text()


LEAKY_RELU = """\
#[inline(always)]
fn leaky_relu(x: felt252, slope: felt252) -> felt252 {{
    match u128s_from_felt252(x) {{
        U128sFromFelt252Result::Narrow(_) => x,
        U128sFromFelt252Result::Wide((_, _)) => {shift}(x * slope),
    }}
}}
"""


def largest_text(count: int) -> str:
    """`largest_COUNT(x0, ...)`: called if of many numbers: one in place stores all that is live around it."""
    inline = "always" if count <= MOST_IN_PLACE else "never"
    parameters = ", ".join(f"x{index}: felt252" for index in range(count))
    lines = [f"    let m = maximum(x{index}, m);" for index in range(1, count)]
    head = f"#[inline({inline})]\nfn largest_{count}({parameters}) -> felt252 {{"
    return "\n".join([head, "    let m = x0;", *lines, "    m", "}", ""])
