# environment: akida
"""The emitted folder runs by itself: with akida and NumPy, and without Recast."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.targets.akida import emit, layout, runtime
from tests.lib.akida.calibrated_model import workplace
from tests.lib.akida.networks import mirrored, residual
from tests.lib.onnx_models import images
from tests.stages.targets.akida.test_verify import spatial

ONLY = """
import importlib.abc, runpy, sys

class Refused(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("recast", "onnx", "onnxruntime", "pydantic", "quantizeml", "cnn2snn"):
            raise ImportError(f"{name} is none of akida and numpy")

sys.meta_path.insert(0, Refused())
sys.argv = ["model.py", *sys.argv[1:]]
runpy.run_path("model.py", run_name="__main__")
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """model.py in its folder, by an interpreter that finds neither Recast nor other packages than it names."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", ONLY, *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("network", "params"),
    [
        (None, {}),
        (None, {"input": "normalised"}),
        (lambda: residual(0), {}),
        (lambda: mirrored(0), {}),
        (lambda: spatial(False), {}),
        (lambda: spatial(True), {}),
    ],
    ids=["stored", "normalised", "residual", "padded by its own values", "maps", "maps in rows"],
)
def test_its_outputs_are_those_that_verify_measures(tmp_path: Path, network: Any, params: dict[str, str]) -> None:
    workplace(tmp_path, network() if network else None, **params).run(emit.STAGE, "emit")
    folder, stored = tmp_path / "emit", images(16, seed=5)[0]
    np.save(folder / "samples.npy", stored)
    done = run(folder, "samples.npy", "-o", "outputs.npy")
    assert done.returncode == 0, done.stderr
    expected = runtime.predictor(folder)(stored)
    np.testing.assert_array_equal(np.load(folder / "outputs.npy"), expected)
    # and as the README says
    laid_out = re.search(r"is laid out by `([^`]+)`", (folder / "README.md").read_text())
    steps = json.loads((folder / "akida_input.json").read_text())["start"]
    assert (laid_out is None) == (not steps)
    if laid_out:
        assert np.array_equal(eval(laid_out[1], {"np": np, "x": stored}), layout.apply(stored, layout.steps(steps)))
    if expected.ndim == 2 and expected.shape[1] == 4:
        classes = json.loads((folder / "input.json").read_text())["classes"]
        assert done.stdout.split() == [classes[index] for index in expected.argmax(axis=1)]
    else:
        assert len(done.stdout.splitlines()) == 16


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            np.zeros((2, 8, 8, 1), np.uint8),
            r"the samples are an array of shape \(2, 8, 8, 1\); the model takes \(N, 1, 8, 8\)",
        ),
        (np.zeros((2, 1, 8, 8), np.float32), "the samples are float32; the model takes uint8, as they are stored"),
        (np.full((2, 1, 8, 8), 256), "the samples hold 256 to 256; the model takes 0 to 255"),
        (np.zeros((0, 1, 8, 8), np.uint8), "there are no samples"),
    ],
)
def test_wrong_samples_are_one_error(tmp_path: Path, samples: Any, message: str) -> None:
    workplace(tmp_path).run(emit.STAGE, "emit")
    np.save(tmp_path / "emit" / "samples.npy", samples)
    done = run(tmp_path / "emit", "samples.npy")
    assert done.returncode == 1 and re.search(f"^model.py: {message}\n$", done.stderr), done.stderr
    chip = run(tmp_path / "emit", "samples.npy", "--device", "0")
    assert chip.stderr == "model.py: there is no device 0: `akida devices` lists 0\n"


def test_host_code_is_generated_of_a_model_that_is_all_in_hardware(tmp_path: Path) -> None:
    import akida

    workplace(tmp_path).run(emit.STAGE, "emit", device="TwoNodesIPv2")
    folder = tmp_path / "emit"
    command = re.search(r"^akida (generate .*)$", (folder / "README.md").read_text(), re.MULTILINE)
    assert command
    tool = Path(sys.executable).with_name("akida")
    subprocess.run([tool, *command[1].split()], cwd=folder, check=True, capture_output=True)
    made = folder / "generated" / "host"
    assert {"program.cpp", "inputs.cpp", "outputs.cpp", "test.cpp", "program.h"} <= {one.name for one in made.iterdir()}
    mapped = runtime.load(folder / "model.fbz")
    mapped.map(akida.TwoNodesIPv2(), hw_only=True)
    (sequence,) = mapped.sequences
    digits = re.findall(r"0x([0-9a-f]{2})", (made / "program.cpp").read_text())
    assert bytes.fromhex("".join(digits)) == bytes(sequence.program)
    # a model whose input the host quantizes is none that such code takes
    workplace(tmp_path / "other", input="normalised").run(emit.STAGE, "emit")
    assert not (tmp_path / "other/emit/host.py").exists()
    assert "akida generate" not in (tmp_path / "other/emit/README.md").read_text()
