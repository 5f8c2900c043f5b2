# environment: onnx
from __future__ import annotations

from typing import Any

import numpy as np

from recast.stages.parity.comparison import compare
from recast.stages.parity.forms.form import NamedForm
from recast.stages.parity.forms.onnx_form import OnnxForm
from tests.lib.branched_model import with_if
from tests.lib.onnx_models import initializer, model

X = np.random.default_rng(0).normal(size=(6, 1, 8, 8)).astype(np.float32)


def form(given: Any) -> OnnxForm:
    return OnnxForm(given, 1, "the model")


def test_what_a_branch_reads_from_around_it_counts() -> None:
    made = form(with_if())
    assert list(made.values(X)) == ["image", "flat", "chosen", "scores"]
    assert made.inputs_of("chosen", ["image", "flat", "chosen"])[0] == ["flat", "image"]
    flat = np.full((6, 64), 3, np.float32)
    alone = made.alone(X, {"flat": flat, "chosen": flat, "scores": np.zeros((6, 4), np.float32)})
    assert np.allclose(alone["chosen"], 9) and np.allclose(alone["scores"], 3)
    assert np.allclose(made.output_given(X, "flat", flat), 9)


def test_an_output_that_does_not_depend_on_the_input_is_shown() -> None:
    import onnx

    nodes = [onnx.helper.make_node("Relu", ["image"], ["unread"]), onnx.helper.make_node("Relu", ["ones"], ["scores"])]
    fixed = model(nodes, [initializer("ones", np.ones((6, 4)))], (6, 1, 8, 8))
    conversion = compare(NamedForm("a", form(fixed), "float"), NamedForm("b", form(fixed), "float"), X, {})
    assert conversion.output.sqnr_db == 200
