# environment: onnx
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from recast.stages.common.int8 import activation_ranges, bias_correction, qdq_model, qdq_scheme
from recast.stages.common.onnx_models import onnx_files, onnx_session
from tests.lib.onnx_models import initializer, model
from tests.lib.onnxruntime_chain import SCHEME, prepared

RANDOM = np.random.default_rng(3)
X = RANDOM.uniform(0, 1, (48, 1, 8, 8)).astype(np.float32)
FEW_STEPS = {"reduce_range": True, "per_channel": False}


def network(*, bias: bool = True) -> Any:
    """Conv of two groups, ConvTranspose, Gemm; a large weight in each tensor leaves few steps to the others."""
    weights = {
        "w1": RANDOM.normal(size=(8, 1, 3, 3)),
        "w2": RANDOM.normal(size=(6, 4, 3, 3)),
        "w3": RANDOM.normal(size=(6, 5, 2, 2)),
        "w4": RANDOM.normal(size=(4, 5)),
    }
    for values in weights.values():
        values.flat[0] = 20
    biases = {"b1": np.zeros(8), "b2": np.ones(6), "b3": np.ones(5), "b4": np.zeros(4)} if bias else {}
    node = helper.make_node
    own = [[name] if bias else [] for name in ("b1", "b2", "b3", "b4")]
    nodes = [
        node("Conv", ["image", "w1", *own[0]], ["one"], "first", pads=[1, 1, 1, 1]),
        node("Relu", ["one"], ["positive"], "relu"),
        node("Conv", ["positive", "w2", *own[1]], ["two"], "second", group=2),
        node("ConvTranspose", ["two", "w3", *own[2]], ["three"], "third", strides=[2, 2]),
        node("GlobalAveragePool", ["three"], ["mean"], "mean"),
        node("Flatten", ["mean"], ["flat"], "flatten"),
        node("Gemm", ["flat", "w4", *own[3]], ["scores"], "head", transB=1),
    ]
    return model(nodes, [initializer(name, values) for name, values in {**weights, **biases}.items()])


def made_int8(made: Any, samples: Any, method: Any = "minmax", *, correct: bool) -> tuple[Any, int]:
    quantized = qdq_scheme.quantizable(qdq_scheme.QuantizeParams(), made)
    scheme = {**SCHEME, **FEW_STEPS, "quantized": quantized, "float": []}
    ranges = activation_ranges.find(made, samples, activation_ranges.Method(method, 99.9), 16, threads=1)
    int8 = qdq_model.with_pairs(made, scheme, ranges, samples[:1])
    if not correct:
        return int8, 0
    corrected, count = bias_correction.correct(made, int8, samples, 16, threads=1)
    return qdq_model.with_pairs(corrected, scheme, ranges, samples[:1]), count


def run(made: Any, x: Any) -> Any:
    return onnx_session.start(made.SerializeToString(), 1, "as_written").run(None, {"image": x})[0]


@pytest.mark.parametrize("bias", [True, False])
def test_the_mean_error_goes_and_the_model_is_otherwise_the_same(tmp_path: Path, bias: bool) -> None:
    made = prepared(network(bias=bias), tmp_path)
    before, none = made_int8(made, X, correct=False)
    after, count = made_int8(made, X, correct=True)
    assert (none, count) == (0, 4)
    onnx_files.check(after, "the int8 model")
    expected = run(made, X)
    lost = [np.abs((run(one, X) - expected).mean(axis=0)).max() for one in (before, after)]
    assert lost[1] < lost[0] / 4, lost
    # of samples that it was not corrected on as well
    other = RANDOM.uniform(0, 1, X.shape).astype(np.float32)
    error = [np.abs(run(one, other) - run(made, other)).mean() for one in (before, after)]
    assert error[1] < error[0], error
    # weights are what they were
    weights = [
        {one.name: numpy_helper.to_array(one) for one in each.graph.initializer if one.name.endswith("_quantized")}
        for each in (before, after)
    ]
    kept = [name for name in weights[0] if name.startswith("w")]
    assert kept and all(np.array_equal(weights[0][name], weights[1][name]) for name in kept)


def test_batches_change_nothing(tmp_path: Path) -> None:
    made = prepared(network(), tmp_path)
    int8, _ = made_int8(made, X, correct=False)
    one, _ = bias_correction.correct(made, int8, X, 48, threads=1)
    other, _ = bias_correction.correct(made, int8, X, 5, threads=1)
    for first, second in zip(one.graph.initializer, other.graph.initializer, strict=True):
        np.testing.assert_allclose(numpy_helper.to_array(first), numpy_helper.to_array(second), rtol=1e-5, atol=1e-6)


def test_a_few_samples_unlike_the_others_do_not_move_the_bias(tmp_path: Path) -> None:
    made = prepared(network(), tmp_path)
    odd = X.copy()
    odd[::16] *= 100
    plain, _ = made_int8(made, odd, "mean", correct=False)
    corrected, _ = made_int8(made, odd, "mean", correct=True)
    usual = X[1:16]
    error = [np.abs((run(one, usual) - run(made, usual)).mean(axis=0)).max() for one in (plain, corrected)]
    assert error[1] < 2 * error[0], error


def test_a_bias_that_two_layers_read_is_left_alone(tmp_path: Path) -> None:
    made = prepared(network(), tmp_path)
    second = next(
        node for node in made.graph.node if node.op_type == "Conv" and len(node.input) > 2 and node.name == "second"
    )
    shared = second.input[2]
    made.graph.node.append(helper.make_node("Neg", [shared], ["negative"], "negative"))
    int8, _ = made_int8(made, X, correct=False)
    corrected, count = bias_correction.correct(made, int8, X, 16, threads=1)
    assert count == 3
    values = {one.name: numpy_helper.to_array(one) for one in corrected.graph.initializer}
    assert np.array_equal(values[shared], np.ones(6, np.float32))


def test_layers_in_float_are_left_alone(tmp_path: Path) -> None:
    made = prepared(network(), tmp_path)
    ranges = activation_ranges.find(made, X, activation_ranges.Method("minmax", 99.9), 16, threads=1)
    scheme = {**SCHEME, "quantized": ["second"], "float": []}
    int8 = qdq_model.with_pairs(made, scheme, ranges, X[:1])
    _, count = bias_correction.correct(made, int8, X, 16, threads=1)
    assert count == 1
