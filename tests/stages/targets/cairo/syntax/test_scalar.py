# environment: cairo
from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pytest

from recast.stages.targets.cairo.ir.fixed_point import Format, parse_format
from recast.stages.targets.cairo.syntax.scalar import WORST_ERRORS, Exponential, Logarithm, hyperbolic_tangent, sigmoid

FP16 = parse_format("FP16x16")


def worst(fmt: Format, function: Callable[[int], int], exact: Callable[[float], float], raws: Iterable[int]) -> float:
    """The largest error in units of the last bit; above 1 relative to the result."""
    return max(abs(function(raw) - exact(raw / fmt.one) * fmt.one) / max(1.0, exact(raw / fmt.one)) for raw in raws)


@pytest.mark.parametrize(
    ("name", "function", "exact", "raws"),
    [
        ("exp", Exponential(FP16), math.exp, range(-14 * FP16.one, 11 * FP16.one, 37)),
        ("ln", Logarithm(FP16), math.log, [*range(1, 40 * FP16.one, 53), *range(40 * FP16.one, 2**32, 9999991)]),
        ("sigmoid", sigmoid(FP16), lambda x: 1 / (1 + math.exp(-x)), range(-14 * FP16.one, 14 * FP16.one, 41)),
        ("tanh", hyperbolic_tangent(FP16), math.tanh, range(-9 * FP16.one, 9 * FP16.one, 31)),
    ],
)
def test_the_worst_error_is_what_the_docstring_says(
    name: str, function: Callable[[int], int], exact: Callable[[float], float], raws: Iterable[int]
) -> None:
    found = worst(FP16, function, exact, raws)
    assert 0.5 < found <= WORST_ERRORS[name]


@pytest.mark.parametrize("name", ["FP8x8", "FP8x23", "FP32x32", "FP20x24"])
def test_other_formats_are_as_exact(name: str) -> None:
    fmt = parse_format(name)
    step = fmt.one // 7 + 1
    assert worst(fmt, Exponential(fmt), math.exp, range(-5 * fmt.one, 3 * fmt.one, step)) < 1.2
    assert worst(fmt, Logarithm(fmt), math.log, range(1, 40 * fmt.one, step)) < 1.3


def test_an_exponential_that_is_too_small_is_zero() -> None:
    assert Exponential(FP16)(-13 * FP16.one) == 0
    assert Exponential(FP16)(-(2**32)) == 0
    assert Exponential(FP16)(0) == FP16.one
