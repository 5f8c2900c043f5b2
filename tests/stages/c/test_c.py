# environment: wasm
from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.base import StageError
from stages.c import emit, program, verify
from tests.stages.onnx_models import CONTRACT, Workplace, cnn, contents
from tests.stages.wasm.emitted import FILES, PATHS, calibrated, expected, lstm, stored

KERNELS = {"kernels": PATHS["kernels"]}


def emitted(root: Path, name: str = "emit", work: Workplace | None = None, **params: Any) -> Workplace:
    work = work or calibrated(root)
    work.run(emit.STAGE, name, {"kernels": FILES["kernels"]}, **KERNELS, **params)
    return work


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return emitted(tmp_path_factory.mktemp("c"))


def test_the_folder_holds_strict_c99_that_agrees(work: Workplace) -> None:
    files = contents(work.root / "emit")
    names = ["README.md", "input.json", "main.c", "model.c", "model.h", "model_weights.c", "report.json"]
    assert sorted(files) == names
    assert b"malloc" not in files["model.c"]
    report = json.loads(files["report.json"])
    assert report["error"] < 1e-5 and report["macs"] > 0 and report["memory_bytes"] > 0
    metrics = work.run(verify.STAGE, "verify", min_accuracy=1.0, min_agreement=1.0)
    assert metrics["max_abs_error"] < 1e-4 and metrics["samples"] == 64
    assert (work.root / "verify/parity.json").is_file()


def test_c_that_is_not_strict_c99_is_refused(work: Workplace, tmp_path: Path) -> None:
    for name, content in contents(work.root / "emit").items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "model.c").write_bytes(
        (tmp_path / "model.c").read_bytes() + b"\nstatic int unused(void) { return 1; }\n"
    )
    (tmp_path / "scratch").mkdir()
    with pytest.raises(StageError, match=r"the emitted C is not strict C99: model\.c:\d+:\d+: error: unused function"):
        program.build(tmp_path, tmp_path / "scratch")


def test_the_example_says_that_the_input_is_cut_short(work: Workplace) -> None:
    (work.root / "cut.scratch").mkdir()
    built = program.build(work.root / "emit", work.root / "cut.scratch")
    done = subprocess.run([str(built)], input=b"\0" * 4 * 65, capture_output=True)
    assert done.returncode == 1 and done.stderr == b"the input ends within a sample of 64 values\n"
    with pytest.raises(StageError, match="the emitted program stopped: the input ends within a sample"):
        program.scorer(built)(np.zeros((1, 65), np.float32))


@pytest.mark.slow
def test_a_batch_that_the_samples_do_not_fill(tmp_path: Path) -> None:
    work = emitted(tmp_path, batch=4)
    (tmp_path / "scratch").mkdir()
    score = program.scorer(program.build(work.root / "emit", tmp_path / "scratch"))
    samples = stored(6)
    np.testing.assert_allclose(score(CONTRACT.normalise(samples)), expected(cnn(), samples), atol=1e-4)


@pytest.mark.slow
def test_int8_runs_natively(tmp_path: Path) -> None:
    work = emitted(tmp_path, work=calibrated(tmp_path, scheme="int8"))
    assert work.run(verify.STAGE, "verify")["agreement"] >= 0.95


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes(work: Workplace) -> None:
    emitted(work.root, "again", work)
    assert contents(work.root / "again") == contents(work.root / "emit")


def test_an_operator_the_compiler_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"'node_lstm' \(LSTM, opset 18\)"):
        emitted(tmp_path, work=calibrated(tmp_path, lstm()))
    assert not contents(tmp_path / "emit")
