# environment: onnx
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from recast.stages.common.int8 import activation_ranges, qdq_model, qdq_scheme, weight_rounding
from recast.stages.common.int8.int8_pairs import Pairs
from recast.stages.common.onnx_models import onnx_files, onnx_session
from tests.lib.onnx_models import initializer, model
from tests.lib.onnxruntime_chain import SCHEME, prepared

RANDOM = np.random.default_rng(5)
FEW_STEPS = {"per_channel": False}


def images(count: int) -> Any:
    """(N, 1, 9, 8), smooth: neighbours say nearly the same, so that one weight can make up for another."""
    coarse = RANDOM.uniform(0, 1, (count, 1, 3, 2))
    return (np.kron(coarse, np.ones((3, 4))) + RANDOM.uniform(0, 0.1, (count, 1, 9, 8))).astype(np.float32)


def network(**attributes: Any) -> Any:
    """Two convolutions, the second of two groups, and a product; each has one large weight, which leaves few steps."""
    weights = {
        "w1": RANDOM.normal(size=(8, 1, 3, 3)),
        "w2": RANDOM.normal(size=(6, 4, 3, 2)),
        "w3": RANDOM.normal(size=(4, 6)),
    }
    for values in weights.values():
        values.flat[0] = 20
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "w1"], ["one"], "first", **(attributes or {"pads": [1, 1, 1, 1]})),
        node("Relu", ["one"], ["positive"], "relu"),
        node("Conv", ["positive", "w2"], ["two"], "second", group=2),
        node("GlobalAveragePool", ["two"], ["mean"], "mean"),
        node("Flatten", ["mean"], ["flat"], "flatten"),
        node("Gemm", ["flat", "w3"], ["scores"], "head", transB=1),
    ]
    made = model(nodes, [initializer(name, values) for name, values in weights.items()])
    made.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 9
    return made


def int8_of(made: Any, samples: Any, **scheme: Any) -> tuple[Any, dict[str, Any]]:
    quantized = qdq_scheme.quantizable(qdq_scheme.QuantizeParams(), made)
    taken = {**SCHEME, **FEW_STEPS, "quantized": quantized, "float": [], **scheme}
    ranges = activation_ranges.find(made, samples, activation_ranges.Method("minmax", 99.9), 16, threads=1)
    return qdq_model.with_pairs(made, taken, ranges, samples[:1]), taken


def rounded(made: Any, samples: Any, **scheme: Any) -> tuple[Any, Any]:
    """The int8 model with the nearest weights, and with learned ones."""
    nearest, taken = int8_of(made, samples, **scheme)
    learned = weight_rounding.learn(made, nearest, qdq_model.weight_bounds(taken), samples, 16, threads=1)
    other = type(nearest)()
    other.CopyFrom(nearest)
    weight_rounding.put(other, learned)
    return nearest, other


def run(made: Any, x: Any, output: str = "") -> Any:
    if output:
        seen = type(made)()
        seen.CopyFrom(made)
        del seen.graph.output[:]
        seen.graph.output.append(helper.make_tensor_value_info(output, 1, None))
        made = seen
    return onnx_session.start(made.SerializeToString(), 1, "as_written").run(None, {"image": x})[0]


def lost(int8: Any, made: Any, x: Any) -> float:
    """The mean squared error of what the second convolution gives; behind it few steps of the scores hide it."""
    output = next(node.output[0] for node in made.graph.node if node.name == "second")
    return float(np.square(run(int8, x, output) - run(made, x, output)).mean())


def integers(made: Any) -> dict[str, Any]:
    return {one.name: numpy_helper.to_array(one) for one in made.graph.initializer if one.name.endswith("_quantized")}


@pytest.mark.parametrize(
    "scheme",
    [{}, {"reduce_range": True}, {"weight_type": "uint8"}, {"per_channel": True, "reduce_range": True}],
    ids=str,
)
def test_outputs_on_other_samples_come_nearer_to_those_in_float(tmp_path: Path, scheme: dict[str, Any]) -> None:
    made = prepared(network(), tmp_path)
    nearest, learned = rounded(made, images(64), **scheme)
    onnx_files.check(learned, "the int8 model")
    x = images(64)
    assert lost(learned, made, x) < lost(nearest, made, x) / (1.2 if scheme.get("per_channel") else 2)
    before, after = integers(nearest), integers(learned)
    assert list(before) == list(after)
    low, high = qdq_model.weight_bounds({**SCHEME, **FEW_STEPS, **scheme})
    for name, values in after.items():
        assert values.dtype == before[name].dtype and values.shape == before[name].shape
        if name.startswith("w"):
            assert values.min() >= low and values.max() <= high
            assert not np.array_equal(values, before[name]), name


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2], "pads": [1, 0, 2, 1]},
        {"dilations": [2, 1], "pads": [2, 1, 2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 1]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
        {"auto_pad": "VALID"},
    ],
    ids=str,
)
def test_a_convolution_is_seen_as_it_is_computed(tmp_path: Path, attributes: dict[str, Any]) -> None:
    """What GPTQ takes for a layer's inputs, times its weights, is what the layer gives."""
    made = prepared(network(**attributes), tmp_path)
    x = images(4)
    int8, _ = int8_of(made, x)
    layers = list(weight_rounding.layers_of(made, Pairs(int8)))
    assert [layer.node.op_type for layer in layers] == ["Conv", "Conv", "Gemm"]
    for layer in layers:
        taken = x if layer.node.input[0] == "image" else run(made, x, layer.node.input[0])
        expected = run(made, x, layer.node.output[0])
        given = layer.inputs(taken) @ layer.rows(layer.weight).transpose(0, 2, 1)  # groups, samples x places, outputs
        given = given.transpose(1, 0, 2).reshape(len(x), -1, len(expected[0]))
        places = expected.reshape(len(x), len(expected[0]), -1).transpose(0, 2, 1)
        drawn = places[:, weight_rounding.drawn(places.shape[1])]
        bias = drawn[0, 0] - given[0, 0]
        np.testing.assert_allclose(given + bias, drawn, rtol=1e-3, atol=1e-4)
        assert np.array_equal(layer.back(layer.rows(layer.weight)), layer.weight)


def test_batches_change_no_integer(tmp_path: Path) -> None:
    made = prepared(network(), tmp_path)
    x = images(48)
    int8, taken = int8_of(made, x)
    bounds = qdq_model.weight_bounds(taken)
    one, other = (weight_rounding.learn(made, int8, bounds, x, size, threads=1) for size in (48, 5))
    assert one and list(one) == list(other)
    assert all((one[name] != other[name]).mean() < 0.02 for name in one)


def test_a_row_keeps_the_nearest_where_the_samples_say_nothing(tmp_path: Path) -> None:
    """Of inputs that are zero on all samples, every choice is as good."""
    made = prepared(network(pads=[0, 0, 0, 0]), tmp_path)
    int8, taken = int8_of(made, np.zeros((4, 1, 9, 8), np.float32))
    learned = weight_rounding.learn(
        made, int8, qdq_model.weight_bounds(taken), np.zeros((4, 1, 9, 8), np.float32), 16, threads=1
    )
    assert not learned


def test_weights_that_two_layers_read_and_layers_in_float_are_left_alone(tmp_path: Path) -> None:
    made = prepared(network(), tmp_path)
    x = images(16)
    some, taken = int8_of(made, x, quantized=["second"])
    learned = weight_rounding.learn(made, some, qdq_model.weight_bounds(taken), x, 16, threads=1)
    assert len(learned) == 1
    weights = next(node for node in made.graph.node if node.name == "second").input[1]
    made.graph.node.append(helper.make_node("Neg", [weights], ["negative"], "negative"))
    assert not weight_rounding.learn(made, some, qdq_model.weight_bounds(taken), x, 16, threads=1)


def test_what_lies_further_apart_than_a_block_is_rounded_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_rounding, "BLOCK", 4)
    made = prepared(network(), tmp_path)
    nearest, learned = rounded(made, images(64))
    x = images(64)
    assert lost(learned, made, x) < lost(nearest, made, x) / 1.5
