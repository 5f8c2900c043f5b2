# environment: onnx
from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from recast.stages.common.samples import Samples
from recast.stages.parity.metrics import (
    EXACT_DB,
    LARGEST,
    Difference,
    LayerError,
    difference,
    first_jump,
    of_outputs,
    ranked,
)


def of(db: float) -> Difference:
    return Difference(0.1, 10 ** (-db / 20), db, 0.9)


def layer(
    name: str, after: float, alone: float | None = None, before: float | None = EXACT_DB, noise: float | None = None
) -> LayerError:
    return LayerError(
        layer=name,
        tensor=name,
        operation="Conv",
        covers=(),
        inputs=("x",),
        before=None if before is None else of(before),
        after=of(after),
        alone=None if alone is None else of(alone),
        noise_db=noise,
    )


def blamed(layers: list[LayerError], kind: str, output: float = 0.0) -> str | None:
    found = first_jump(layers, kind, of(output))  # type: ignore[arg-type]
    return found.layer if found else None


def test_the_numbers_are_those_of_their_formulas() -> None:
    found = difference(np.float32([3, 4, 0]), np.float32([3, 4, 0.05]))
    assert found.max_abs == pytest.approx(0.05)
    assert found.relative == pytest.approx(0.01)
    assert found.sqnr_db == pytest.approx(40)
    assert found.cosine == pytest.approx(1 / math.sqrt(1 + 1e-4))
    opposite = difference(np.float32([1, 2]), np.float32([-1, -2]))
    assert (opposite.cosine, opposite.sqnr_db) == (pytest.approx(-1), pytest.approx(-20 * math.log10(2)))


def test_equal_arrays_zeros_and_nan_have_finite_numbers() -> None:
    zeros = np.zeros((2, 3), np.float32)
    assert difference(zeros, zeros) == Difference(0.0, 0.0, EXACT_DB, 1.0)
    assert difference(zeros, zeros + 1).sqnr_db == -EXACT_DB
    # a dead ReLU, and noise of a millionth of its inputs
    assert difference(zeros, zeros + 1e-6, least_rms=1).sqnr_db == pytest.approx(120)
    broken = difference(np.ones(3, np.float32), np.float32([1, np.nan, -np.inf]))
    assert broken.max_abs == pytest.approx(LARGEST)
    assert all(math.isfinite(value) for value in dataclasses.astuple(broken))


def test_errors_that_are_only_handed_on_are_no_jump() -> None:
    float_noise = [layer(f"l{i}", after=140 - 2.5 * i, alone=135, before=142.5 - 2.5 * i) for i in range(30)]
    assert blamed(float_noise, "float") is None
    gradual = [layer(f"l{i}", after=44 - i, alone=42, before=45 - i) for i in range(30)]
    assert blamed(gradual, "int8") is None


def test_the_first_layer_with_an_error_of_its_own_is_blamed() -> None:
    layers = [layer("a", 130, 135), layer("b", 60, 60), layer("c", 55, 140, before=60), layer("d", 10, 11)]
    assert blamed(layers, "float") == "b"


def test_a_float_model_whose_output_is_right_has_no_fault() -> None:
    assert blamed([layer("a", 10, 10), layer("b", 130, 135)], "float", output=130) is None


def test_a_float_layer_that_rounding_alone_upsets_is_excused() -> None:
    assert blamed([layer("a", 70, 70, noise=75)], "float") is None
    assert blamed([layer("a", 70, 70, noise=135)], "float") == "a"


def test_an_int8_layer_must_stand_out_from_the_others() -> None:
    usual = [layer(f"l{i}", 40, 40) for i in range(6)]
    assert blamed([*usual, layer("clipped", 15, 15)], "int8") == "clipped"
    assert blamed([*usual, layer("a little worse", 24, 24)], "int8") is None
    # four bits: all are alike, none is at fault
    assert blamed([layer(f"l{i}", 18, 18) for i in range(6)], "int8") is None
    assert blamed([layer(f"l{i}", 12, 12) for i in range(6)] + [layer("hopeless", 3, 3)], "int8") == "hopeless"


def test_where_layers_cannot_be_run_alone_the_fall_decides() -> None:
    layers = [layer("a", 44, before=None), layer("b", 41, before=44), layer("c", 9, before=41), layer("d", 5, before=9)]
    assert blamed(layers, "int8") == "c"
    assert blamed(layers[:2], "int8") is None
    # the same integers on another runtime: the first that differs
    assert blamed([layer("a", 200, before=None), layer("b", 12, before=200), layer("c", 3, before=12)], "same") == "b"


def test_layers_are_ranked_by_the_error_they_add() -> None:
    layers = [layer("a", 30, 45), layer("b", 28, 31), layer("c", 20, 40), layer("d", 25)]
    assert [one.layer for one in ranked(layers)] == ["d", "b", "c", "a"]


def test_of_several_outputs_the_worst_counts() -> None:
    one, other, ids = np.ones((4, 2)), np.full((4, 3), 2.0), np.arange(4)
    whole = Samples({"one": one, "other": other, "ids": ids})
    made = Samples({"one": one * 1.01, "other": other * 1.1, "ids": ids + 1})
    found = of_outputs(whole, made)
    assert found.sqnr_db == pytest.approx(20.0) and found.max_abs == pytest.approx(0.2)  # ids have no distance
    assert of_outputs(ids, ids + 1).max_abs == 1.0  # unless there is nothing else
    assert of_outputs(whole, Samples({"one": one, "other": other[:, :1]})).sqnr_db == -EXACT_DB
