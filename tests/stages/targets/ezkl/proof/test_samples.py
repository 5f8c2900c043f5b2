# environment: ezkl
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recast.stages.base import StageError
from recast.stages.targets.ezkl.proof import prover, samples
from tests.lib.contracts import contract as contract_of
from tests.lib.onnx_models import CONTRACT, Workplace, images

FLOATS = contract_of("points", (2,), "float32", 1.0, (0.0,), (1.0,), ("a", "b"))
ONE, _ = images(1, seed=3)


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_npz_json_and_image_hold_the_same_sample(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=ONE)
    np.savez(tmp_path / "b.npz", x=ONE[0].astype(np.float64))
    Image.fromarray(ONE[0, 0]).save(tmp_path / "c.png")
    paths = [
        tmp_path / "a.npz",
        tmp_path / "b.npz",
        tmp_path / "c.png",
        written(tmp_path / "nested.json", ONE[0].tolist()),
        written(tmp_path / "flat.json", ONE.reshape(-1).tolist()),
        written(tmp_path / "ezkl.json", {"input_data": [ONE.reshape(-1).tolist()]}),
    ]
    for path in paths:
        found = samples.read(path, CONTRACT)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, ONE[0], str(path))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0.0] * 63, r"of shape \(63,\), and the network takes one sample of \(1, 8, 8\)"),
        ([0.0] * 65, r"of shape \(65,\)"),
        ([[0.0] * 64, [0.0] * 64], r"of shape \(2, 64\)"),
        ({"input_data": [[0.0] * 64, [1.0] * 64]}, r"of shape \(2, 64\)"),
        ({"input_data": [[0.0] * 64], "more": [[0.0] * 64]}, "is a table of 2 entries"),
        ({}, "is a table of 0 entries"),
        (["one"] * 64, "not numbers"),
        ([None] * 64, "not numbers"),
        ([True] * 64, "not numbers"),
        ([[0.0], [0.0, 1.0]], "lists of different lengths"),
        ([float("nan")] * 64, "NaN or infinity"),
        ([float("inf")] * 64, "NaN or infinity"),
        ([0.5] * 64, "numbers that are no pixels"),
        ([256] * 64, "numbers that are no pixels"),
        ([-1] * 64, "numbers that are no pixels"),
    ],
)
def test_anything_else_is_refused_before_ezkl_sees_it(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(StageError, match=message):
        samples.read(written(tmp_path / "input.json", value), CONTRACT)


def test_files_that_are_no_sample_are_refused(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("1 2 3")
    (tmp_path / "broken.npz").write_text("1 2 3")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    np.savez(tmp_path / "other.npz", y=ONE)
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], object))
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "tall.png")
    for name, message in (
        ("absent.npz", "there is no input file"),
        ("input.txt", "is no npz, JSON file or image"),
        ("broken.npz", "cannot read broken.npz"),
        ("broken.json", "cannot read broken.json"),
        ("broken.png", "cannot read the image"),
        ("other.npz", "holds no array 'x'"),
        ("pickled.npz", "cannot read pickled.npz"),
        ("tall.png", "is 8 pixels wide and 9 high"),
    ):
        with pytest.raises(StageError, match=message):
            samples.read(tmp_path / name, CONTRACT)
    with pytest.raises(StageError, match="which no image has"):
        samples.read(tmp_path / "tall.png", FLOATS)


def test_shades_of_grey_are_refused_where_pixels_are_black_or_white(tmp_path: Path) -> None:
    grey, binary = np.array([[[0, 127, 128, 255]]], np.uint8), np.array([[[0, 0, 255, 255]]], np.uint8)
    with pytest.raises(StageError, match=r"digit\.png has shades of grey"):
        samples.black_and_white(grey, False, "digit.png")
    np.testing.assert_array_equal(samples.black_and_white(grey, True, "digit.png"), binary)
    np.testing.assert_array_equal(samples.black_and_white(binary, False, "digit.png"), binary)


def test_whether_samples_are_black_and_white_is_seen_in_the_data(mlp: Workplace, tmp_path: Path) -> None:
    assert not samples.is_black_and_white(mlp.root / "emit")
    for folder, values in (("binary", (0, 255)), ("bits", (0, 1))):
        (tmp_path / folder).mkdir()
        x = np.array(values, np.uint8).repeat(64).reshape(2, 1, 8, 8)
        np.savez(tmp_path / folder / "calibration.npz", x=x, y=np.zeros(2, np.int64))
        CONTRACT.write(tmp_path / folder)
        samples.write_values(tmp_path / folder, CONTRACT, tmp_path / folder)
    assert samples.is_black_and_white(tmp_path / "binary")
    assert not samples.is_black_and_white(tmp_path / "bits")


def test_a_number_without_a_decomposition_is_named_before_anything_is_proved(
    mlp: Workplace, store: Path, tmp_path: Path
) -> None:
    emitted = tmp_path / "emit"
    emitted.mkdir()
    for file in (mlp.root / "emit").iterdir():
        (emitted / file.name).write_bytes(file.read_bytes())
    contract_of("quadrants", (1, 8, 8), "float32", 1.0, (0.0,), (1.0,), CONTRACT.classes).write(emitted)
    with pytest.raises(StageError, match=r"the input holds 1e\+09 \(after normalisation\), and the circuit takes less"):
        prover.Prover(emitted, store, threads=1).prove(np.full((1, 8, 8), 1e9, np.float32), tmp_path)
    with pytest.raises(StageError, match="the input holds NaN"):
        prover.Prover(emitted, store, threads=1).prove(np.full((1, 8, 8), np.nan, np.float32), tmp_path)
    with pytest.raises(StageError, match=r"has shape \(64,\), and the network takes"):
        prover.Prover(emitted, store, threads=1).prove(np.zeros(64, np.float32), tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("prove-")]
