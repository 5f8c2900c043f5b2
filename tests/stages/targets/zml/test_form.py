# environment: zml
"""Faults planted in what is emitted, each blamed by `verify` on its layer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from recast.stages.base import StageError
from tests.lib.zml.verifying import copied, run

Weights = dict[str, Any]


pytestmark = pytest.mark.usefixtures("quickly")


def emitted_conversion(out: Path) -> dict[str, Any]:
    conversion: dict[str, Any] = json.loads((out / "parity.json").read_text())["conversions"][-1]
    assert (conversion["from"], conversion["to"]) == ("simplified", "emitted")
    return conversion


def wrong_alone(out: Path) -> list[str]:
    return [layer["layer"] for layer in emitted_conversion(out)["layers"] if layer["alone"]["sqnr_db"] < 80]


@pytest.mark.parametrize(
    ("name", "emit", "least"),
    [
        ("Images", "emit", 50),
        ("Images", "unfolded", 50),
        ("Sequences", "emit", 50),
        pytest.param("Signals", "emit", 10, marks=pytest.mark.slow),
        pytest.param("Pixels", "emit", 10, marks=pytest.mark.slow),
        pytest.param("Mixed", "emit", 25, marks=pytest.mark.slow),
    ],
)
def test_a_sound_model_is_compared_layer_by_layer_and_blames_none(
    emitted: Path, tmp_path: Path, name: str, emit: str, least: int
) -> None:
    root = copied(emitted, tmp_path, name)
    run(root, emit)
    conversion = emitted_conversion(root / "verify")
    assert conversion["blamed"] is None
    assert len(conversion["layers"]) > least
    assert not wrong_alone(root / "verify")
    # what BatchNorm is folded into gives something else than PyTorch's layer, and is not compared with it
    assert (emit == "unfolded") == ("head.1" in {layer["layer"] for layer in conversion["layers"]})
    assert min(layer["after"]["sqnr_db"] for layer in conversion["layers"]) > 110


@pytest.mark.parametrize(
    ("name", "struct", "text", "fault", "blamed"),
    [
        pytest.param("Images", "Idle3", "return x.relu();", "return x;", "idle.3", id="a removed ReLU"),
        pytest.param("Images", "Block", "norm1.relu();", "norm1;", "block.relu", id="a removed ReLU in a block's code"),
        pytest.param(
            "Images",
            "BlockConv1",
            "&.{ 1, 1, 1, 1 }",
            "&.{ 2, 0, 0, 2 }",
            "block.conv1 + block.norm1",
            id="swapped padding",
        ),
        pytest.param("Sequences", "Norm", ".softmax(.d)", ".softmax(.b)", "norm", id="a wrong axis"),
        pytest.param("Sequences", "Layers0Norm1", "mean(.d)", "mean(.s)", "layers.0.norm1", id="a wrong normalisation"),
        pytest.param("Images", "Images", "return log_softmax;", "return out;", "log_softmax", id="an unused result"),
    ],
)
def test_a_fault_in_the_zig_is_blamed_on_its_layer(
    emitted: Path, tmp_path: Path, name: str, struct: str, text: str, fault: str, blamed: str
) -> None:
    root = copied(emitted, tmp_path, name)
    path = root / "emit" / "model.zig"
    before, start, after = path.read_text().partition(f"pub const {struct} = struct")
    assert text in after
    after = after.replace(text, fault, 1)
    if blamed == "log_softmax":
        after = after.replace("const log_softmax = ", "_ = ", 1)
    path.write_text(before + start + after)
    with pytest.raises(StageError):
        run(root)
    assert emitted_conversion(root / "verify")["blamed"] == blamed
    assert wrong_alone(root / "verify") == [blamed.rpartition(" ")[2]]
    rows = (root / "verify" / "error_by_layer.csv").read_text().splitlines()
    assert len(rows) > 50
    assert (root / "verify" / "layers.csv").is_file()


def _truncated(weights: Weights) -> None:
    weights["head.1.weight"][:, 8:] = 0


def _transposed(weights: Weights) -> None:
    weights["tied.weight"] = np.ascontiguousarray(weights["tied.weight"].T)


def _wrong_statistics(weights: Weights) -> None:
    weights["block.norm1.running_mean"] = weights["block.norm1.running_mean"] + np.float32(1)


@pytest.mark.parametrize(
    ("fault", "blamed"),
    [
        pytest.param(_truncated, "head.1", id="a truncated weight"),
        pytest.param(_transposed, "tied", id="a transposed Linear"),
        pytest.param(_wrong_statistics, "block.conv1 + block.norm1", id="a wrong normalisation"),
    ],
)
def test_a_fault_in_the_weights_is_blamed_on_its_layer(
    emitted: Path, tmp_path: Path, fault: Callable[[Weights], None], blamed: str
) -> None:
    root = copied(emitted, tmp_path)
    path = root / "unfolded" / "model.safetensors"
    weights = load_file(path)
    fault(weights)
    save_file(weights, path)
    with pytest.raises(StageError, match=rf"layer {blamed.partition(' + ')[2] or blamed} differs from PyTorch"):
        run(root, "unfolded")
    assert emitted_conversion(root / "verify")["blamed"] == blamed


def test_a_wrong_normalisation_of_the_input_is_blamed_on_the_input(emitted: Path, tmp_path: Path) -> None:
    root = copied(emitted, tmp_path)
    path = root / "emit" / "input.json"
    contract = json.loads(path.read_text())
    contract["inputs"][0]["mean"] = [0.5]
    path.write_text(json.dumps(contract))
    # the layers themselves are right: only the limits of the whole show it
    with pytest.raises(StageError, match=r"misses 1 limit.*the error jumps at layer input .simplified . emitted"):
        run(root, max_abs_error=1e-3, min_agreement=None)
    assert emitted_conversion(root / "verify")["blamed"] == "input"
    assert wrong_alone(root / "verify") == ["input"]


def test_two_faults_are_both_shown_and_the_first_is_blamed(emitted: Path, tmp_path: Path) -> None:
    root = copied(emitted, tmp_path)
    path = root / "unfolded" / "model.safetensors"
    weights = load_file(path)
    _transposed(weights)
    _truncated(weights)
    save_file(weights, path)
    with pytest.raises(StageError):
        run(root, "unfolded")
    assert emitted_conversion(root / "verify")["blamed"] == "head.1"
    assert wrong_alone(root / "verify") == ["head.1", "tied"]
