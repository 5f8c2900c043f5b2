# environment: onnx
from __future__ import annotations

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import rewritten
from tests.lib.onnx_models import cnn, cnn_nodes, cnn_weights, initializer, model

X = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)


def test_the_same_network_passes() -> None:
    rewritten.check(cnn(), cnn(opset=13), X, "the copy", threads=1)
    rewritten.check(cnn(), cnn(), X, "the copy", threads=1, taken=X.copy())


def test_another_network_is_refused() -> None:
    weights = cnn_weights()
    weights[4] = initializer("head.bias", [0.0, 0.0, 0.1, 0.0])
    with pytest.raises(StageError, match=r"the copy computes something else: a score differs by 0\.1") as caught:
        rewritten.check(cnn(), model(cnn_nodes(), weights), X, "the copy", threads=1)
    assert "fault of Recast" in caught.value.remedy


def test_nodes_of_another_operator_set_are_refused() -> None:
    """Squeeze takes its axes as an input from opset 13 on."""
    import onnx

    after = cnn(opset=18)
    after.graph.node[-1].output[0] = "inner"
    after.graph.node.extend(
        [
            onnx.helper.make_node("Unsqueeze", ["inner"], ["outer"], axes=[2]),
            onnx.helper.make_node("Squeeze", ["outer"], ["scores"], axes=[2]),
        ]
    )
    with pytest.raises(StageError, match="the copy is not valid ONNX"):
        rewritten.check(cnn(), after, X, "the copy", threads=1)
