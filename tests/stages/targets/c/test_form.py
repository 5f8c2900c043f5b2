# environment: wasm
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from recast.stages.compilers import fixed_batch
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.targets.c.form import NativeForm, NativeModel
from tests.lib.onnx_models import CONTRACT, cnn
from tests.lib.wasm.emitted import stored

if TYPE_CHECKING:
    from recast.stages.compilers.onnx_c.compile import Sources

BATCH = 3
X = CONTRACT.normalise(stored(2 * BATCH))


@pytest.fixture
def model() -> Any:
    return fixed_batch.fix(cnn(), BATCH)


def test_every_tensor_is_what_onnxruntime_computes(model: Any, tmp_path: Path) -> None:
    form, reference = NativeForm(model, 1, "the C", tmp_path), OnnxForm(model, 1, "the model")
    expected, found = reference.values(X), form.values(X)
    assert list(found) == list(expected) == ["image", "features", "positive", "pooled", "flat", "scores"]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)
    alone = form.alone(X, expected)
    np.testing.assert_allclose(alone["pooled"], expected["pooled"], atol=1e-4)
    assert form.first_wrong_layer(X[:BATCH], 1e-4) == (
        "; compiled to show every tensor, it computes all of them right for that sample"
    )


class Wrong(NativeForm):
    """With all weights of the model, biases among them, a quarter too large."""

    def build(self, sources: Sources, scratch: Path) -> NativeModel:
        floats = np.frombuffer(sources.weights["float"], np.float32) * np.float32(1.25)
        return super().build(replace(sources, weights={**sources.weights, "float": floats.tobytes()}), scratch)


def test_the_first_wrong_layer_is_named(model: Any, tmp_path: Path) -> None:
    said = Wrong(model, 1, "the C", tmp_path).first_wrong_layer(X[:BATCH], 1e-3)
    assert said == "; the first tensor that differs is features"
