# environment: onnx
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.common.onnx_models import onnx_files
from tests.lib.onnx_models import initializer, model
from tests.lib.onnxruntime_chain import int8, prepared

X = np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)


def between(op: str, *bounds: str, bias: float = 0.0) -> Any:
    """A dense layer, an operation that onnxruntime's quantizer drops, and another dense layer."""
    import onnx

    random = np.random.default_rng(1)
    nodes = [
        onnx.helper.make_node("Flatten", ["image"], ["flat"], "flatten"),
        onnx.helper.make_node("Gemm", ["flat", "first", "bias"], ["hidden"], "first"),
        onnx.helper.make_node(op, ["hidden", *bounds], ["kept"], "kept"),
        onnx.helper.make_node("Gemm", ["kept", "second"], ["scores"], "second"),
    ]
    weights = {"first": random.normal(size=(64, 6)) / 8, "second": random.normal(size=(6, 4)), "bias": np.full(6, bias)}
    values = {"low": 0.3, "high": 0.9, "below": -0.3, "zero": 0.0}
    constants = [initializer(name, value) for name, value in (*weights.items(), *values.items())]
    return model(nodes, [one for one in constants if one.name in {name for node in nodes for name in node.input}])


@pytest.mark.parametrize(
    "bounds", [("low", "high"), ("low",), ("", "below"), ("zero", "high"), ("below", "high"), ("", "high"), ()]
)
def test_bounds_are_kept_on_which_side_of_zero_they_may_be(tmp_path: Path, bounds: tuple[str, ...]) -> None:
    given = between("Clip", *bounds)
    expected = onnx_files.Session(given, threads=1).run(X)
    found = onnx_files.Session(int8(prepared(given, tmp_path), tmp_path, X), threads=1).run(X)
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_a_relu_that_gives_zeros_alone_still_does(tmp_path: Path, kind: str) -> None:
    given = between("Relu", bias=-9.0)
    assert not onnx_files.Session(given, threads=1).run(X).any()
    made = int8(prepared(given, tmp_path), tmp_path, X, activation_type=kind)
    assert not onnx_files.Session(made, threads=1).run(X).any()
