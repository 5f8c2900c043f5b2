# environment: onnx
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recast.stages.common.int8 import qdq_scheme
from recast.stages.common.onnx_models import onnx_files, plain_gemm
from tests.lib.onnx_models import initializer, model
from tests.lib.onnxruntime_chain import int8, prepared

SHAPES = [(), (1,), (4,), (1, 1), (1, 4), (3, 1), (3, 4)]
X = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)


def gemm(bias: NDArray[Any], opset: int = 18, **attributes: Any) -> Any:
    """A dense layer over three images, its bias of any shape that ONNX allows."""
    import onnx

    weight = np.random.default_rng(1).normal(size=(4, 64) if attributes.get("transB") else (64, 4))
    nodes = [
        onnx.helper.make_node("Flatten", ["image"], ["flat"], "flatten"),
        onnx.helper.make_node("Gemm", ["flat", "weight", "bias"], ["scores"], "head", **attributes),
    ]
    return model(nodes, [initializer("weight", weight), initializer("bias", bias)], (3, 1, 8, 8), opset)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 17, 18, 21])
@pytest.mark.parametrize("attributes", [{}, {"transB": 1, "beta": 0.5, "alpha": 2.0}])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_bias_becomes_a_list(shape: tuple[int, ...], attributes: dict[str, Any], opset: int) -> None:
    """Before opset 11 a Gemm must have a bias."""
    made = gemm(np.random.default_rng(2).normal(size=shape), opset, **attributes)
    expected = onnx_files.Session(made, threads=1).run(X)
    plain_gemm.rewrite(made)
    onnx_files.check(made, "the model")
    assert np.allclose(onnx_files.Session(made, threads=1).run(X), expected, atol=1e-5)
    kept = next(one for one in made.graph.node if one.op_type == "Gemm").input
    sizes = {weight.name: list(weight.dims) for weight in made.graph.initializer}
    assert len(kept) == 2 or sizes[kept[2]] == [4]
    assert "bias" in sizes or shape != (4,) or attributes


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.5, "beta": 2.0, "transB": 1}])
@pytest.mark.parametrize("per_channel", [True, False])
def test_int8_with_a_bias_of_any_shape_is_that_of_the_list(
    tmp_path: Path, shape: tuple[int, ...], attributes: dict[str, Any], per_channel: bool
) -> None:
    values = np.random.default_rng(3).normal(size=shape) * 30

    def scores(made: Any) -> NDArray[Any]:
        quantized = int8(prepared(made, tmp_path), tmp_path, X, per_channel=per_channel)
        onnx_files.check(quantized, "the int8 model")
        return onnx_files.Session(quantized, threads=1).run(X)

    found = scores(gemm(values, **attributes))
    if len(shape) < 2 or shape[0] == 1:
        assert np.array_equal(found, scores(gemm(np.broadcast_to(values.reshape(-1), (4,)), **attributes)))
    expected = onnx_files.Session(gemm(values, **attributes), threads=1).run(X)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_a_matmul_with_a_row_added_is_prepared_to_a_list(tmp_path: Path) -> None:
    import onnx

    nodes = [
        onnx.helper.make_node("Flatten", ["image"], ["flat"], "flatten"),
        onnx.helper.make_node("MatMul", ["flat", "weight"], ["product"], "product"),
        onnx.helper.make_node("Add", ["product", "bias"], ["scores"], "sum"),
    ]
    weights = [
        initializer("weight", np.random.default_rng(1).normal(size=(64, 4))),
        initializer("bias", np.ones((1, 4))),
    ]
    ready = qdq_scheme.prepare(model(nodes, weights), tmp_path)
    assert int8(ready, tmp_path, X).graph.node
