# environment: torch
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recast.stages.base import Inputs
from recast.stages.common.dataset import read_arrays
from recast.stages.trunk.calibration import at_random, balanced, say_what_differs
from recast.stages.trunk.data import STAGE, DataParams

STRATA = np.array([0] * 80 + [1] * 15 + [2] * 5)
ALL = np.arange(100)


def differs(calibration: np.ndarray, test: np.ndarray) -> str:
    return say_what_differs({"x": calibration}, {"x": test})


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_balanced_takes_as_many_of_each_class_as_there_are() -> None:
    chosen = balanced(ALL, STRATA, 30, stream())
    assert np.bincount(STRATA[chosen]).tolist() == [13, 12, 5] and len(set(chosen.tolist())) == 30
    assert np.bincount(STRATA[balanced(ALL, STRATA, 9, stream())]).tolist() == [3, 3, 3]
    # classes mixed, so that the first few are a fair sample
    assert len(set(STRATA[chosen[:6]].tolist())) > 1
    assert not np.array_equal(chosen, balanced(ALL, STRATA, 30, stream(1)))
    assert len(balanced(ALL, None, 30, stream())) == 30


def test_at_random_takes_no_look_at_classes() -> None:
    chosen = at_random(ALL, 50, stream())
    assert len(set(chosen.tolist())) == 50 and np.bincount(STRATA[chosen])[0] > 30


@pytest.mark.parametrize(
    ("scale", "shift", "said"),
    [(1.0, 0.0, False), (1.15, 0.0, False), (1.5, 0.0, True), (1.0, 1.5, True), (0.3, 0.0, True)],
)
def test_ranges_that_differ_are_said(
    scale: float, shift: float, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    calibration = stream().uniform(-1, 1, (300, 2, 50)).astype(np.float32)
    test = calibration.copy()
    test[:, 1] = test[:, 1] * scale + shift
    assert bool(differs(calibration, test)) is said
    assert ("x, channel 1: -0.99" in capsys.readouterr().out) is said


def test_one_odd_sample_is_no_range_and_tokens_have_none() -> None:
    calibration = stream().uniform(-1, 1, (300, 2, 50)).astype(np.float32)
    test = calibration.copy()
    test[0, 0, 0] = 100
    assert not differs(calibration, test)
    assert not differs(np.zeros((9, 4), np.int64), np.full((9, 4), 5, np.int64))


@pytest.mark.parametrize("how", ["proportional", "balanced", "random"])
def test_the_stage_draws_so(how: str, tmp_path: Path) -> None:
    random = stream()
    np.savez(tmp_path / "own.npz", x=random.uniform(0, 1, (400, 3)).astype(np.float32), y=np.repeat([0, 1], [360, 40]))
    (tmp_path / "out").mkdir()
    params = DataParams(dataset="npz", path="own.npz", calibration=how, calibration_samples=80)
    metrics = STAGE.run(params, Inputs({}, {"path": tmp_path / "own.npz"}), tmp_path / "out")
    counts = np.bincount(read_arrays(tmp_path / "out", "calibration")["y"])
    assert {"proportional": counts[1] == 8, "balanced": 25 < counts[1] <= 40, "random": counts[1] < 16}[how]
    assert "calibration_differs" not in metrics and json.dumps(metrics)


def test_samples_of_ones_own_that_differ(tmp_path: Path) -> None:
    x = stream().uniform(0, 1, (100, 3)).astype(np.float32)
    split = np.repeat(["train", "test", "calibration"], [60, 20, 20])
    x[split == "calibration"] *= 0.2
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(100) % 2, split=split)
    (tmp_path / "out").mkdir()
    metrics = STAGE.run(
        DataParams(dataset="npz", path="own.npz"), Inputs({}, {"path": tmp_path / "own.npz"}), tmp_path / "out"
    )
    assert metrics["calibration_samples"] == 20
    assert "calibration samples range elsewhere than test samples" in metrics["calibration_differs"]
