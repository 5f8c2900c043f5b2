# environment: onnx
"""The form that shows what onnxruntime runs: its layers, put together, give the session's own output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.comparison import compare
from recast.stages.parity.forms.form import NamedForm
from recast.stages.parity.forms.fused_form import FusedForm
from recast.stages.parity.forms.onnx_form import OnnxForm
from tests.lib.branched_model import branched, with_if
from tests.lib.deep_model import deep, samples
from tests.lib.onnx_models import CONTRACT, cnn, images
from tests.lib.onnxruntime_chain import SCHEME, int8, prepared

KINDS: dict[str, dict[str, Any]] = {
    "that saturates without VNNI": {"reduce_range": False},
    "in seven bits": {},
    "of int8": {"activation_type": "int8"},
    "of uint8 weights": {"weight_type": "uint8", "reduce_range": False},
}


def whole(model: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores that a user of the model has, with no option set."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name, fixed = session.get_inputs()[0].name, onnx_files.only_input(model, "the model").shape[0]
    return np.concatenate([session.run(None, {name: part})[0][:n] for part, n in onnx_files.split(x, len(x), fixed)])


def normalised(count: int) -> NDArray[np.float32]:
    return CONTRACT.normalise(images(count, 3)[0])


MODELS: dict[str, tuple[Any, Callable[[], NDArray[np.float32]]]] = {
    "deep": (deep(0), lambda: samples(0)),
    "branched": (branched(0), lambda: samples(0)),
    "branches of an If": (with_if(of_a_product=True), lambda: normalised(12)),
    "a fixed batch": (cnn(batch=5), lambda: normalised(12)),
}


@pytest.mark.parametrize("scheme", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_its_pieces_give_what_the_session_gives(tmp_path: Path, name: str, scheme: str) -> None:
    float_model, draw = MODELS[name]
    x = draw()
    model = int8(prepared(float_model, tmp_path), tmp_path, x, **KINDS[scheme])
    form = FusedForm(model, 1, "the model")
    found = form.values(x)
    assert list(found) == form.tensors and len(found) >= 4
    np.testing.assert_array_equal(found[form.output], whole(model, x))
    # what a layer makes of what the others made is what it made
    alone = form.alone(x, found)
    assert alone.keys() == found.keys()
    for tensor, value in found.items():
        np.testing.assert_array_equal(alone[tensor], value)


def test_only_what_is_quantized_is_shown(tmp_path: Path) -> None:
    x = normalised(16)
    model = int8(prepared(cnn(), tmp_path), tmp_path, x)
    form = FusedForm(model, 1, "the model")
    assert list(form.values(x)) == ["image", "positive", "pooled", "flat", "scores"]
    assert form.inputs_of("positive", form.tensors) == (["image"], ["Conv"])
    assert form.step_of("positive") and not OnnxForm(cnn(), 1, "the float model").step_of("positive")


def test_a_layer_in_float_is_part_of_the_next_quantized_one(tmp_path: Path) -> None:
    x = normalised(16)
    ready = prepared(cnn(), tmp_path)
    (conv,) = (node.name for node in ready.graph.node if node.op_type == "Conv")
    model = int8(ready, tmp_path, x, exclude=[conv])
    form = FusedForm(model, 1, "the emitted model")
    np.testing.assert_array_equal(form.values(x)["scores"], whole(model, x))
    conversion = compare(
        NamedForm("prepared", OnnxForm(ready, 1, "the prepared model"), "float"),
        NamedForm("emitted", form, "int8"),
        x,
        {},
    )
    assert conversion.blamed is None and conversion.layers[-1].layer == "scores"


def test_a_model_that_onnxruntime_cannot_run_is_refused(tmp_path: Path) -> None:
    model = int8(prepared(cnn(), tmp_path), tmp_path, normalised(16))
    model.graph.node[-1].op_type = "NoSuchOperator"
    with pytest.raises(StageError, match=r"onnxruntime cannot run the layers of the model: .*NoSuchOperator"):
        FusedForm(model, 1, "the model").values(normalised(4))


def test_the_scheme_of_these_tests_is_the_one_that_cannot_saturate() -> None:
    assert SCHEME["reduce_range"] or SCHEME["weight_type"] == "uint8"
