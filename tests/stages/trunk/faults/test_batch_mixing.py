# environment: onnx
from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.trunk.faults import batch_mixing
from tests.lib.onnx_models import CONTRACT, cnn, images, initializer, model

node = onnx.helper.make_node
RANDOM = np.random.default_rng(5)
HEAD = initializer("head", RANDOM.normal(0, 0.3, (64, 4)))


def integers(name: str, *values: int) -> Any:
    return initializer(name, values, np.int64)


def classifier(nodes: list[Any], weights: list[Any], batch: int | str = "batch") -> Any:
    """image -> Flatten -> nodes from "flat" to "middle", 64 values -> scores."""
    ends = [node("Flatten", ["image"], ["flat"], "flatten")], [node("Gemm", ["middle", "head"], ["scores"], "gemm")]
    return model([*ends[0], *nodes, *ends[1]], [*weights, HEAD], (batch, 1, 8, 8))


def lstm(batch: int | str = "batch") -> Any:
    """Time is axis 0, where the batch is."""
    nodes = [
        node("Unsqueeze", ["flat", "one"], ["steps"], "steps"),
        node("LSTM", ["steps", "w", "r"], ["hidden"], "lstm", hidden_size=64),
        node("Squeeze", ["hidden", "inner"], ["middle"], "squeeze"),
    ]
    weights = [
        initializer("w", RANDOM.normal(0, 0.3, (1, 256, 64))),
        initializer("r", RANDOM.normal(0, 0.3, (1, 256, 64))),
    ]
    return classifier(nodes, [integers("one", 1), integers("inner", 1, 2), *weights], batch)


MIXING = {
    "'lstm' (LSTM)": lstm(),
    "'softmax' (Softmax)": classifier([node("Softmax", ["flat"], ["middle"], "softmax", axis=0)], []),
    "'centre' (Sub)": classifier(
        [node("ReduceMean", ["flat", "axis"], ["mean"], "mean"), node("Sub", ["flat", "mean"], ["middle"], "centre")],
        [integers("axis", 0)],
    ),
    "'roll' (Concat)": classifier(
        [
            node("Slice", ["flat", "minus", "end", "zero"], ["last"], "last"),
            node("Slice", ["flat", "zero", "minus", "zero"], ["rest"], "rest"),
            node("Concat", ["last", "rest"], ["middle"], "roll", axis=0),
        ],
        [integers("zero", 0), integers("minus", -1), integers("end", 1 << 30)],
    ),
    "'sums' (CumSum)": classifier(
        [node("CumSum", ["flat", "axis"], ["middle"], "sums")], [initializer("axis", 0, np.int64)]
    ),
    "'back' (Reshape)": classifier(
        [
            node("Transpose", ["flat"], ["turned"], "turn"),
            node("Reshape", ["turned", "rows"], ["middle"], "back"),
        ],
        [integers("rows", -1, 64)],
    ),
    "'hardmax' (Hardmax)": classifier([node("Hardmax", ["flat"], ["middle"], "hardmax", axis=0)], []),
}


def samples(count: int = 16) -> Any:
    return CONTRACT.normalise(images(count, 3)[0])


def check(made: Any, x: Any = None) -> None:
    session = onnx_files.Session(made, 1)
    batch_mixing.check_onnx(made, session, samples() if x is None else x, "given.onnx", 1)


@pytest.mark.parametrize("layer", MIXING)
def test_a_model_that_mixes_samples_is_refused_and_its_layer_named(layer: str) -> None:
    with pytest.raises(StageError, match="mixes the samples of a batch") as caught:
        check(MIXING[layer])
    assert f"the first layer that does is {layer}" in caught.value.message
    assert "batch_first=True" in caught.value.remedy and "for a batch of 1" in caught.value.remedy


@pytest.mark.parametrize("made", [cnn(), cnn(1), cnn(4), lstm(1)], ids=["cnn", "cnn of 1", "cnn of 4", "lstm of 1"])
def test_a_model_that_keeps_them_apart_passes(made: Any) -> None:
    check(made)


def test_a_fixed_batch_may_mix_too() -> None:
    with pytest.raises(StageError, match="mixes the samples") as caught:
        check(lstm(4))
    assert "for a batch of 1" in caught.value.remedy


def test_rounding_of_quantized_values_is_no_mixing() -> None:
    scale, zero = initializer("scale", np.float32(0.02)), initializer("zero", 0, np.int8)
    nodes = [
        node("QuantizeLinear", ["flat", "scale", "zero"], ["q"], "quantize"),
        node("DequantizeLinear", ["q", "scale", "zero"], ["middle"], "dequantize"),
    ]
    check(classifier(nodes, [scale, zero]))


def test_a_model_that_does_not_repeat_itself_is_refused() -> None:
    nodes = [
        node("RandomNormalLike", ["flat"], ["noise"], "noise"),
        node("Add", ["flat", "noise"], ["middle"], "noisy"),
    ]
    with pytest.raises(StageError, match="something in it is random"):
        check(classifier(nodes, []))
