# environment: onnx
from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages import onnx_files
from stages.base import StageError
from stages.dataset import read_contract
from stages.onnxruntime import calibrate, emit, quantize, verify
from tests.stages.onnx_models import CONTRACT, Workplace, cnn, contents, write_data


def workplace(root: Path) -> Workplace:
    write_data(root / "data")
    (root / "simplify").mkdir()
    onnx_files.write_model(cnn(), root / "simplify" / "model.onnx")
    work = Workplace(root)
    work.run(quantize.STAGE, "quantize")
    work.run(calibrate.STAGE, "calibrate")
    return work


def test_emits_a_folder_that_runs_as_its_readme_says(tmp_path: Path) -> None:
    metrics = workplace(tmp_path).run(emit.STAGE, "emit")
    folder = tmp_path / "emit"
    assert set(contents(folder)) == {"model.onnx", "input.json", "README.md"}
    assert metrics["size_bytes"] == (folder / "model.onnx").stat().st_size
    assert read_contract(folder) == CONTRACT
    (snippet,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\['(nw|ne|sw|se)'\]\n", done.stdout)


def test_verify_runs_the_emitted_folder_alone(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    shutil.rmtree(tmp_path / "calibrate")
    metrics = work.run(verify.STAGE, "verify", min_accuracy=0.95)
    assert metrics["accuracy_float"] == 1.0
    assert metrics["agreement"] >= 0.95
    assert 0 < metrics["max_abs_error"] < 1
    assert (tmp_path / "verify" / verify.STAGE.plots[0].file).is_file()


def test_verify_names_the_measured_value_and_the_limit(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    with pytest.raises(
        StageError, match=r"model\.onnx misses 1 limit: largest error [0-9.e-]+ is above max_abs_error 1e-06"
    ):
        work.run(verify.STAGE, "verify", max_abs_error=1e-6)


def test_verify_follows_the_contract_in_the_emitted_folder(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    (tmp_path / "emit" / "input.json").write_text("{}")
    with pytest.raises(StageError, match=r"cannot read the input contract emit/input\.json"):
        work.run(verify.STAGE, "verify")


def test_a_wrong_contract_in_the_emitted_folder_is_blamed_on_the_input(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    contract = json.loads((tmp_path / "emit" / "input.json").read_text())
    (tmp_path / "emit" / "input.json").write_text(json.dumps({**contract, "divisor": 1.0}))
    with pytest.raises(StageError, match=r"the error jumps at layer image \(quantized → emitted\)"):
        work.run(verify.STAGE, "verify", max_abs_error=0.5, min_agreement=None)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    (tmp_path / "calibrate" / "model.onnx").write_bytes(b"")
    with pytest.raises(StageError, match=r"model\.onnx is empty"):
        work.run(emit.STAGE, "emit")
