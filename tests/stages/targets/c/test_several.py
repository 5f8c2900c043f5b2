# environment: wasm
"""Several inputs and outputs, of every type, as C."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.common import dataset, samples
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.c import emit, runtime, verify
from tests.lib.onnx_models import Workplace
from tests.lib.signatures import INPUTS, compiled, many


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    work = compiled(tmp_path_factory.mktemp("c"))
    work.run(emit.STAGE, "emit", batch=1)
    return work


def wanted(root: Path) -> Any:
    """onnxruntime's outputs for the test samples, by name."""
    taken, _ = dataset.read_taken(root / "data", "test")
    return onnx_files.Session(many(), 1).run(taken).arrays


def test_each_is_an_argument_in_the_order_of_the_model(work: Workplace) -> None:
    header = (work.root / "emit/model.h").read_text()
    arguments = ["const float *input0", "const int64_t *input1", "const uint8_t *input2", "const float *input3"]
    assert ", ".join(arguments) in " ".join(header.split())
    said = json.loads((work.root / "emit/input.json").read_text())
    assert [one["tensor"] for one in said["inputs"]] == list(INPUTS)
    # C has no half: float32 holds every value of it
    assert [one["dtype"] for one in said["inputs"]] == ["float32", "int64", "bool", "float32", "uint8"]
    assert [(one["name"], one["dtype"]) for one in said["outputs"]] == [
        ("scores", "float32"),
        ("class", "int64"),
        ("energy", "float32"),
    ]
    assert said["inputs"][1]["bounds"] == [-10, 9]


def test_every_output_is_onnxruntimes(work: Workplace, tmp_path: Path) -> None:
    score = runtime.scorer(work.root / "emit", tmp_path)
    stored, _ = dataset.read_samples(work.root / "data", "test")
    made = score(dataset.read_contract(work.root / "emit").normalise(stored))
    assert isinstance(made, samples.Samples)
    for name, value in wanted(work.root).items():
        assert made.arrays[name].dtype == value.dtype
        np.testing.assert_allclose(made.arrays[name], value, atol=1e-4, err_msg=name)


def test_verify_measures_every_output(work: Workplace) -> None:
    metrics = work.run(verify.STAGE, "verify", parity_samples=8)
    assert metrics["agreement"] == 1 and metrics["sqnr_db"] > 80
    report = json.loads((work.root / "verify/parity.json").read_text())
    assert set(report["outputs"]) == {"scores", "class", "energy"}


@pytest.mark.slow
def test_the_example_reads_and_prints_all(tmp_path: Path) -> None:
    """Four at once, which six samples do not fill, as the README says."""
    work = compiled(tmp_path)
    work.run(emit.STAGE, "emit", batch=4)
    folder = work.root / "emit"
    compiler = next(line for line in (folder / "README.md").read_text().splitlines() if line.startswith("cc ")).split()
    cache = {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "zig"), "ZIG_LOCAL_CACHE_DIR": str(tmp_path / "zig")}
    subprocess.run([sys.executable, "-m", "ziglang", *compiler], cwd=folder, env={**os.environ, **cache}, check=True)
    stored, _ = dataset.read_samples(work.root / "data", "test")
    taken = dataset.read_contract(folder).normalise(stored[:6])
    given = b"".join(np.ascontiguousarray(one[at]).tobytes() for at in range(6) for one in taken.arrays.values())
    done = subprocess.run([folder / "model"], input=given, capture_output=True, check=True)
    lines = [np.array(line.split(), float) for line in done.stdout.splitlines()]
    for place, value in enumerate(wanted(work.root).values()):
        printed = np.array(lines[place::3]).reshape(value[:6].shape)
        np.testing.assert_allclose(printed, value[:6], atol=1e-4)
    done = subprocess.run([folder / "model"], input=given[:-1], capture_output=True)
    assert done.returncode == 1 and done.stderr == b"the input ends within a sample of 91 values\n"


@pytest.mark.slow
def test_int8_of_several_is_compiled_as_well(tmp_path: Path) -> None:
    work = compiled(tmp_path, "int8")
    work.run(emit.STAGE, "emit")
    metrics = work.run(verify.STAGE, "verify", parity_samples=8, min_agreement=0.8)
    assert metrics["sqnr_db"] > 15
