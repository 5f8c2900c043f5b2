# environment: akida
from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stages import onnx_files, simplifier
from stages.akida import calibrate, emit, quantize, runtime, same_integers, verify
from stages.base import StageError
from stages.dataset import read_contract
from tests.stages.akida.networks import residual
from tests.stages.onnx_models import CONTRACT, Workplace, cnn, contents, images, initializer, model, write_data


def workplace(root: Path, exported: Any = None, **params: Any) -> Workplace:
    """All stages up to calibrate."""
    write_data(root / "data")
    (root / "simplify").mkdir()
    exported = exported or cnn()
    simplifier.drop_idle_allowzero(exported)
    onnx_files.write_model(exported, root / "simplify" / "model.onnx")
    work = Workplace(root)
    work.run(quantize.STAGE, "quantize", **params)
    work.run(calibrate.STAGE, "calibrate", samples=64)
    return work


def unpadded() -> Any:
    """Two convolutions, the second without padding, which the hardware does not do."""
    import onnx

    node = onnx.helper.make_node
    random = np.random.default_rng(0)
    nodes = [
        node("Conv", ["image", "first.weight"], ["a"], "node_first", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"], "node_relu"),
        node("Conv", ["b", "second.weight"], ["c"], "node_second"),
        node("Relu", ["c"], ["d"], "node_relu_2"),
        node("Flatten", ["d"], ["e"], "node_flatten"),
        node("Gemm", ["e", "head.weight"], ["scores"], "node_head", transB=1),
    ]
    shapes = {"first.weight": (4, 1, 3, 3), "second.weight": (4, 4, 3, 3), "head.weight": (4, 144)}
    return model(nodes, [initializer(name, random.normal(size=shape)) for name, shape in shapes.items()])


def test_emits_a_folder_that_runs_as_its_readme_says(tmp_path: Path) -> None:
    metrics = workplace(tmp_path).run(emit.STAGE, "emit", require_hardware=True)
    folder = tmp_path / "emit"
    assert set(contents(folder)) == {
        "model.fbz",
        "input.json",
        "akida_input.json",
        "mapping.json",
        "summary.txt",
        "README.md",
    }
    assert (metrics["layers"], metrics["layers_in_hardware"], metrics["input"]) == (3, 3, "stored")
    assert read_contract(folder) == CONTRACT
    assert runtime.read_input(folder) == runtime.AkidaInput((8, 8, 1), "NHWC", "uint8", "stored")
    assert "conv (InputConv2D)" in (folder / "summary.txt").read_text()
    readme = (folder / "README.md").read_text()
    assert "| conv | InputConv2D | hardware |" in readme
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True, check=True)
    assert re.search(r"\['(nw|ne|sw|se)'\]\n$", done.stdout)


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    work.run(emit.STAGE, "again")
    assert contents(tmp_path / "emit") == contents(tmp_path / "again")


def test_a_layer_left_to_software_is_named_with_the_reason(tmp_path: Path) -> None:
    work = workplace(tmp_path, unpadded())
    work.run(emit.STAGE, "emit")
    layers = {one["layer"]: one for one in json.loads((tmp_path / "emit" / "mapping.json").read_text())["layers"]}
    assert layers["second"]["runs_in"] == "software"
    assert layers["second"]["reason"] == "Only padding 'Same' and 'SameUpper' are supported."
    assert layers["head"]["runs_in"] == "hardware"
    with pytest.raises(StageError, match=r"cannot run on TwoNodesIPv2: .*second \(Conv2D\): Only padding"):
        work.run(emit.STAGE, "again", device="TwoNodesIPv2", require_hardware=True)


def test_the_devices_offered_are_akidas_own() -> None:
    import akida

    own = [name for name in dir(akida.virtual_devices) if name.endswith("NodesIPv2")]
    assert own
    assert sorted(typing.get_args(emit.EmitParams.model_fields["device"].annotation)) == sorted(own)
    with pytest.raises(ValidationError, match="SixNodesIPv2"):
        emit.EmitParams(device="SixNodes")


@pytest.mark.parametrize("choice", ["stored", "normalised"])
def test_verify_runs_the_emitted_folder_alone(tmp_path: Path, choice: str) -> None:
    work = workplace(tmp_path, input=choice)
    assert work.run(emit.STAGE, "emit")["input"] == choice
    shutil.rmtree(tmp_path / "calibrate")
    metrics = work.run(verify.STAGE, "verify", min_accuracy=0.95, batch_size=50)
    assert metrics["accuracy_float"] == 1.0
    assert metrics["agreement"] >= 0.95
    assert 0 < metrics["max_abs_error"] < 1
    assert metrics["size_bytes"] == (tmp_path / "emit" / "model.fbz").stat().st_size


def test_normalised_input_is_read_from_the_model(tmp_path: Path) -> None:
    workplace(tmp_path, input="normalised").run(emit.STAGE, "emit")
    assert runtime.read_input(tmp_path / "emit") == runtime.AkidaInput((1, 8, 8), "NCHW", "float32", "normalised")
    x, y = images(32, seed=3)
    assert (runtime.predictor(tmp_path / "emit")(x).argmax(axis=1) == y).mean() > 0.95


def test_verify_names_the_measured_value_and_the_limit(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    with pytest.raises(
        StageError, match=r"model\.fbz misses 1 limit: largest error [0-9.e-]+ is above max_abs_error 1e-06"
    ):
        work.run(verify.STAGE, "verify", max_abs_error=1e-6)


def test_a_damaged_artifact_is_refused(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    (tmp_path / "emit" / "model.fbz").write_bytes(b"nonsense")
    with pytest.raises(StageError, match=r"akida cannot load model\.fbz"):
        work.run(verify.STAGE, "verify")
    (tmp_path / "emit" / "akida_input.json").write_text("{}")
    with pytest.raises(StageError, match=r"cannot read emit/akida_input\.json"):
        work.run(verify.STAGE, "again")


def test_the_readme_shows_what_the_choice_of_the_input_gained(tmp_path: Path) -> None:
    work = workplace(tmp_path, residual(0))
    metrics = work.run(emit.STAGE, "emit", require_hardware=True)
    assert metrics["layers_in_hardware"] == metrics["layers"]
    readme = (tmp_path / "emit" / "README.md").read_text()
    rows = [line.split(" | ") for line in readme.splitlines() if "(uint8" in line]
    assert [row[0] for row in rows] == ["| stored (uint8)", "| normalised (uint8), as chosen"]
    assert rows[1][2:] == ["0", "0", "0", "0 |"] != rows[0][2:]


@pytest.mark.parametrize("input_type", ["uint8", "int8"])
def test_a_first_convolution_computes_the_same_from_either_type(tmp_path: Path, input_type: str) -> None:
    work = workplace(tmp_path, residual(0), input="normalised", input_type=input_type)
    metrics = work.run(emit.STAGE, "emit", require_hardware=True)
    assert metrics["input"] == "normalised"
    stored = images(32, 5)[0]
    simplified = onnx_files.Session(tmp_path / "simplify" / "model.onnx", 1, "the float model")
    expected = simplified.run(CONTRACT.normalise(stored))
    actual = runtime.predictor(tmp_path / "emit")(stored)
    assert np.linalg.norm(actual - expected) < 0.1 * np.linalg.norm(expected)


def test_a_model_that_akida_computes_otherwise_is_refused(tmp_path: Path) -> None:
    """The integers of another model stand for a fault of the conversion."""
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    integers = onnx_files.read_model(tmp_path / "calibrate" / "model.onnx")
    kept = same_integers.require(integers, tmp_path / "emit", tmp_path / "data", "stored", 1)
    assert kept > 60
    other = workplace(tmp_path / "other", residual(0))
    other.run(emit.STAGE, "emit")
    with pytest.raises(StageError, match="akida computes something else than the integer model it was converted from"):
        same_integers.require(integers, tmp_path / "other/emit", tmp_path / "data", "stored", 1)
