# environment: onnx
"""Samples of several inputs or outputs, and which name stands for which."""

from __future__ import annotations

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common import samples
from recast.stages.common.samples import Samples

A, B = np.arange(6).reshape(3, 2), np.arange(3) * 10
BOTH = Samples({"a": A, "b": B})


def test_positions_are_those_of_every_array() -> None:
    assert len(BOTH) == 3 and len(BOTH[1:]) == 2
    assert BOTH[[2, 0]].arrays["a"].tolist() == [[4, 5], [0, 1]] and BOTH[[2, 0]].arrays["b"].tolist() == [20, 0]
    assert BOTH[-1].arrays["b"].tolist() == [20]  # a single position keeps its axis
    again = samples.joined([BOTH[:1], BOTH[1:]])
    assert all((again.arrays[name] == array).all() for name, array in BOTH.arrays.items())
    assert samples.joined([A[:1], A[1:]]).tolist() == A.tolist()
    with pytest.raises(StageError, match="3 of a, 2 of b"):
        Samples({"a": A, "b": B[:2]})


def test_one_array_is_no_samples() -> None:
    assert samples.of({"a": A}) is A and isinstance(samples.of({"a": A, "b": B}), Samples)
    assert samples.each(A, np.sum) == 15 and list(samples.parts(A)) == [""]
    assert (samples.shapes(A), samples.shapes(BOTH)) == ("(2,)", "a (2,), b ()")


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        (["a", "b"], ["b", "a"], {"b": "b", "a": "a"}),  # names, whatever the order
        (["a", "b", "c"], ["b"], {"b": "b"}),
        (["a", "b"], ["x", "y"], {"a": "x", "b": "y"}),  # no name: their order
        (["a"], ["x"], {"a": "x"}),
    ],
)
def test_names_come_before_order(given: list[str], wanted: list[str], expected: dict[str, str]) -> None:
    assert samples.named_as(given, wanted) == expected


@pytest.mark.parametrize(
    ("given", "wanted"), [(["a", "b"], ["b", "x"]), (["a", "b", "c"], ["x", "y"]), (["a"], ["x", "y"])]
)
def test_a_name_that_half_fits_is_not_guessed(given: list[str], wanted: list[str]) -> None:
    with pytest.raises(StageError, match=rf"takes 2 inputs \({', '.join(wanted)}\), and is given {', '.join(given)}"):
        samples.named_as(given, wanted)


def test_arrays_by_the_names_that_are_wanted() -> None:
    assert list(samples.named(BOTH, ["b", "a"])) == ["b", "a"] and samples.named(BOTH, ["x", "y"])["y"] is B
    assert samples.named(A, ["x"]) == {"x": A}
    with pytest.raises(StageError, match="and is given one array"):
        samples.named(A, ["x", "y"])
