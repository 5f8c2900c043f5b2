# environment: onnx
"""Models whose inner tensors do not all have the batch for their first axis."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from recast.stages.parity import comparison
from recast.stages.parity.forms.form import NamedForm
from recast.stages.parity.forms.onnx_form import OnnxForm
from tests.lib.onnx_models import CONTRACT, images, initializer, model

node = onnx.helper.make_node


def time_first(batch: int | str) -> onnx.ModelProto:
    """Rows of the image as steps: `steps` and `positive` are (8, batch, 8)."""
    nodes = [
        node("Squeeze", ["image", "channel"], ["rows"], "squeeze"),
        node("Transpose", ["rows"], ["steps"], "to_steps", perm=[1, 0, 2]),
        node("Relu", ["steps"], ["positive"], "relu"),
        node("Transpose", ["positive"], ["back"], "to_batch", perm=[1, 0, 2]),
        node("Flatten", ["back"], ["flat"], "flat"),
        node("Gemm", ["flat", "head"], ["scores"], "head"),
    ]
    weights = [initializer("channel", [1], np.int64), initializer("head", np.ones((64, 4)))]
    return model(nodes, weights, (batch, 1, 8, 8))


@pytest.mark.parametrize("batch", [1, 2, "batch"])
@pytest.mark.parametrize("count", [1, 3, 16])
def test_only_what_belongs_to_samples_is_compared(batch: int | str, count: int) -> None:
    made, x = time_first(batch), CONTRACT.normalise(images(count, 0)[0])
    form = OnnxForm(made, 1, "the model")
    values = form.values(x)
    assert {"image", "rows", "back", "flat", "scores"} == set(values)
    assert all(len(value) == count for value in values.values())
    np.testing.assert_allclose(values["back"], np.maximum(x[:, 0], 0))
    found = comparison.compare(
        NamedForm("one", form, "float"), NamedForm("other", OnnxForm(made, 1, "it"), "int8"), x, {}
    )
    assert found.output.max_abs == 0 and found.blamed is None
