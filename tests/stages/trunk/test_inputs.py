# environment: onnx
"""Inputs for an imported model of which nothing is known: brought as an npz, or drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from pydantic import ValidationError

from recast.stages.base import Inputs, Metrics, StageError
from recast.stages.common.dataset import read, read_arrays, read_contract
from recast.stages.trunk.inputs import STAGE, InputsParams


def model(tmp_path: Path, **inputs: tuple[int, list[Any]]) -> None:
    ports = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    name, (kind, shape) = next(iter(inputs.items()))
    made = helper.make_tensor_value_info("y", kind, shape)
    graph = helper.make_graph([helper.make_node("Identity", [name], ["y"])], "g", ports, [made])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "m.onnx")


def run(tmp_path: Path, **params: Any) -> tuple[Metrics, Path]:
    out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
    out.mkdir()
    checked = InputsParams.model_validate({"task": "none", **params})
    files = {key: tmp_path / str(getattr(checked, key)) for key in ("path", "onnx") if getattr(checked, key)}
    return STAGE.run(checked, Inputs({}, files), out), out


def refused(tmp_path: Path, **params: Any) -> str:
    with pytest.raises(StageError) as caught:
        run(tmp_path, **params)
    return f"{caught.value.message} | {caught.value.remedy}"


def test_inputs_are_drawn_within_bounds_and_said_to_be(tmp_path: Path) -> None:
    model(tmp_path, image=(TensorProto.FLOAT, ["batch", 3, 4, 4]))
    metrics, out = run(tmp_path, onnx="m.onnx", samples=10, bounds={"image": {"low": -2, "high": 3}})
    assert metrics == {
        "dataset": "drawn", "inputs": {"image": [3, 4, 4]}, "calibration_samples": 5, "test_samples": 5
    }  # fmt: skip
    x, y = read(out, "test")
    assert y is None and x.shape == (5, 3, 4, 4) and x.dtype == np.float32
    assert -2 <= x.min() < -1 and 2 < x.max() <= 3
    contract = read_contract(out)
    assert contract.dataset == "drawn" and contract.task == {"name": "none"} and contract.classes == ()
    again = run(tmp_path, onnx="m.onnx", samples=10, bounds={"image": {"low": -2, "high": 3}})[1]
    assert (read(again, "calibration")[0] == read(out, "calibration")[0]).all()
    assert not (read(out, "calibration")[0] == x).all()


def test_tokens_of_a_free_length(tmp_path: Path) -> None:
    model(tmp_path, ids=(TensorProto.INT64, ["batch", "time"]), mask=(TensorProto.BOOL, ["batch", "time"]))
    said = refused(tmp_path, onnx="m.onnx")
    assert "takes any length along 'time' | say how long it is to be: set inputs.axes to {time: 16}" in said
    _, out = run(tmp_path, onnx="m.onnx", axes={"time": 7}, bounds={"ids": {"low": 0, "high": 99}})
    arrays = read_arrays(out, "test")
    assert arrays["ids"].shape == (32, 7) and arrays["ids"].dtype == np.int64 and 50 < arrays["ids"].max() <= 99
    assert arrays["mask"].dtype == np.bool_
    assert [one.dtype for one in read_contract(out).inputs] == ["int64", "bool"]
    assert "has no input 'tokens'; it has ids, mask" in refused(
        tmp_path, onnx="m.onnx", axes={"time": 7}, bounds={"tokens": {"high": 9}}
    )


def test_inputs_of_ones_own(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", a=np.arange(12.0).reshape(6, 2), b=np.arange(6, dtype=np.uint8))
    metrics, out = run(tmp_path, path="own.npz")
    assert metrics["inputs"] == {"a": [2], "b": []} and metrics["test_samples"] == 3
    parts = [read_arrays(out, split) for split in ("calibration", "test")]
    assert sorted(np.concatenate([part["b"] for part in parts]).tolist()) == list(range(6))
    assert all((part["a"][:, 0] == 2 * part["b"]).all() for part in parts) and parts[0]["a"].dtype == np.float32
    np.savez(tmp_path / "own.npz", a=np.zeros((6, 2)), b=np.zeros(5))
    assert "own.npz holds 6 of a, 5 of b" in refused(tmp_path, path="own.npz")
    np.savez(tmp_path / "own.npz", a=np.array([np.nan]))
    assert "a holds NaN or infinity" in refused(tmp_path, path="own.npz")
    np.savez(tmp_path / "own.npz", a=np.array(["x"]))
    assert "a has dtype <U1" in refused(tmp_path, path="own.npz")
    np.savez(tmp_path / "own.npz", a=np.array([print], object))
    assert "a pickle" in refused(tmp_path, path="own.npz")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "needs either `path`, an npz of inputs, or `onnx`"),
        ({"path": "a.npz", "onnx": "m.onnx"}, "needs either `path`"),
        ({"path": "a.npz", "axes": {"t": 3}}, "are of inputs that are drawn"),
        ({"onnx": "m.onnx", "task": "regression"}, "needs 'task: none' at the top of the recipe"),
        ({"onnx": "m.onnx", "bounds": {"x": {"low": 2, "high": 1}}}, "high must be above low"),
    ],
)
def test_params_that_cannot_be(params: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        InputsParams.model_validate({"task": "none", **params})
    assert message in str(caught.value)
