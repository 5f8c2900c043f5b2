# environment: wasm
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.compilers import equivalence
from tests.lib.wasm.emitted import text_model


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_whole_numbers_are_those_of_some_sample_at_the_same_place(dtype: type[np.generic]) -> None:
    samples = np.array([[0, 5, 1], [1, 7, 1]]).astype(dtype)
    made = equivalence.like(samples, 200)
    assert made.shape == (200, 3) and made.dtype == samples.dtype
    for place in range(3):
        assert set(made[:, place].tolist()) == set(samples[:, place].tolist())


def test_floats_lie_between_those_of_the_samples_at_the_same_place() -> None:
    samples = np.random.default_rng(0).uniform([0, -900, 3], [1, 900, 3], (50, 3)).astype(np.float32)
    made = equivalence.like(samples, 2000)
    assert made.shape == (2000, 3) and made.dtype == np.float32
    assert (made >= samples.min(0)).all() and (made <= samples.max(0)).all()
    assert np.allclose(made.max(0), samples.max(0), rtol=0.01) and len(np.unique(made[:, 1])) > 1900


def test_floats_that_are_whole_are_taken_from_the_samples() -> None:
    samples = np.array([[2.0, 5.0], [8.0, 7.0]], np.float32)
    made = equivalence.like(samples, 100)
    assert made.dtype == np.float32 and set(made[:, 0]) == {2.0, 8.0} and set(made[:, 1]) == {5.0, 7.0}


def test_whole_numbers_are_compared_without_wrapping() -> None:
    model = text_model("int32", "best")
    x = np.zeros((4, 12), np.int32)
    checker = equivalence.checker(model, x, 4, 0, 1e-3, 1)
    assert checker.error(lambda given: checker.expected.copy(), "file", str) == 0
    with pytest.raises(StageError, match="differs from onnxruntime's by"):
        checker.error(lambda given: (checker.expected.astype(np.int64) + 1).astype(np.uint8), "file", str)


def test_what_explains_an_error_is_asked_of_the_sample_that_has_it() -> None:
    x = np.zeros((10, 12), np.int32)
    checker = equivalence.checker(text_model("int32", "best"), x, 10, 0, 1e-3, 1)
    made = checker.expected.astype(np.float64)
    made[7] += 5
    asked: list[int] = []
    with pytest.raises(StageError, match="worst at check sample 7"):
        checker.error(lambda given: made, "file", lambda worst: str(asked.append(worst)))
    assert asked == [7]
    checker.x[7] = 3
    assert len(checker.batch_of(7, 4)) == 4 and (checker.batch_of(7, 4)[3] == 3).all()
    assert (checker.batch_of(7, 1) == 3).all() and len(checker.batch_of(9, 4)) == 4


def test_random_inputs_at_which_rounding_alone_may_be_too_much_are_left_out_and_said(
    capfd: pytest.CaptureFixture[str],
) -> None:
    # of numbers near 1 what is left beside 1, as a deep model may do unseen
    x = np.random.default_rng(0).uniform(1, 1 + 1e-4, (64, 20)).astype(np.float32)
    model = less_one()
    checker = equivalence.checker(model, x, 8, 100, 1e-3, 1)
    assert len(checker.x) == len(checker.expected) == 8
    said = capfd.readouterr().out
    assert "100 of 100 random inputs are not compared" in said and "emit.max_error 0.001" in said
    assert len(equivalence.checker(model, x, 8, 100, 1e-3, 1, is_float=False).x) == 108
    assert len(equivalence.checker(model, x + 1, 8, 100, 1e-3, 1).x) == 108
    assert "not compared" not in capfd.readouterr().out


def less_one() -> Any:
    """x (n, 20) -> x - 1."""
    import onnx

    one = onnx.numpy_helper.from_array(np.float32(1), "one")
    given, made = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 20]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Sub", ["x", "one"], ["y"])], "less", [given], [made], [one])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)


def log_of_sum() -> Any:
    """x (n, 2) -> the logarithm of the sum of both."""
    import onnx

    nodes = [
        onnx.helper.make_node("ReduceSum", ["x"], ["sum"], axes=[1]),
        onnx.helper.make_node("Log", ["sum"], ["y"]),
    ]
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 2])
    made = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 1])
    graph = onnx.helper.make_graph(nodes, "log", [given], [made])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)], ir_version=8)


def test_where_the_model_gives_nan_is_said() -> None:
    with pytest.raises(StageError, match="gives NaN or infinity on the calibration samples"):
        equivalence.checker(log_of_sum(), np.full((2, 2), -1.5, np.float32), 2, 4, 1e-3, 1)
    # the sum of every sample is 2, and of those mixed some are below zero
    mixed = np.array([[3, -1], [-1, 3]], np.float32)
    with pytest.raises(StageError, match="gives NaN or infinity on random inputs, though") as caught:
        equivalence.checker(log_of_sum(), mixed, 2, 50, 1e-3, 1)
    assert caught.value.remedies[0] == "set emit.check_random to 0 if no such input can occur"
    equivalence.checker(log_of_sum(), mixed, 2, 0, 1e-3, 1)


def test_positive_samples_make_positive_inputs() -> None:
    x = np.random.default_rng(0).uniform(0.1, 3, (20, 2)).astype(np.float32)
    assert np.isfinite(equivalence.checker(log_of_sum(), x, 4, 500, 1e-3, 1).expected).all()


def test_what_onnxruntime_refuses_of_random_inputs_is_said() -> None:
    """An index of two places, of which one alone is beyond the table: no sample is, and mixed ones are."""
    import onnx

    nodes = [
        onnx.helper.make_node("ReduceSum", ["x"], ["sum"], axes=[1], keepdims=0),
        onnx.helper.make_node("Gather", ["words", "sum"], ["y"]),
    ]
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT64, ["n", 2])
    made = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3])
    words = onnx.numpy_helper.from_array(np.ones((10, 3), np.float32), "words")
    graph = onnx.helper.make_graph(nodes, "sums", [given], [made], [words])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)], ir_version=8)
    with pytest.raises(StageError, match="on random inputs within what the calibration samples hold: ") as caught:
        equivalence.checker(model, np.array([[9, 0], [0, 9]]), 2, 50, 1e-3, 1)
    assert caught.value.remedies[0] == "set emit.check_random to 0 if no such input can occur"
