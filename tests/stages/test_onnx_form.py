# environment: onnx
from __future__ import annotations

from typing import Any

import numpy as np

from stages.hops import Step, compare
from stages.onnx_form import OnnxForm
from tests.stages.onnx_models import initializer, model

X = np.random.default_rng(0).normal(size=(6, 1, 8, 8)).astype(np.float32)


def with_if() -> Any:
    """image -> Flatten -> If of the image's size, whose branches read what lies around it -> MatMul."""
    import onnx

    node = onnx.helper.make_node
    port = onnx.helper.make_tensor_value_info("made", 1, None)
    then = onnx.helper.make_graph([node("Mul", ["flat", "flat"], ["made"])], "then", [], [port])
    other = onnx.helper.make_graph([node("Neg", ["flat"], ["made"])], "other", [], [port])
    nodes = [
        node("Flatten", ["image"], ["flat"], "flatten"),
        node("Size", ["image"], ["size"], "size"),
        node("Greater", ["size", "zero"], ["condition"], "greater"),
        node("If", ["condition"], ["chosen"], "choose", then_branch=then, else_branch=other),
        node("MatMul", ["chosen", "weight"], ["scores"], "head"),
    ]
    return model(nodes, [initializer("zero", 0, np.int64), initializer("weight", np.ones((64, 4)) / 64)])


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
    hop = compare(Step("a", form(fixed), "float"), Step("b", form(fixed), "float"), X, {})
    assert hop.output.sqnr_db == 200
