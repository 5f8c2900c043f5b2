# environment: torch
"""The data sets of MLPerf Tiny are read in the layout of their archives: files made so."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.common.torch_models.torchvision_import import import_torchvision
from recast.stages.trunk.sources import torchvision_files
from tests.lib import mlperf_tiny
from tests.lib.copied import ROOT


@pytest.fixture(scope="module")
def readers() -> Any:
    spec = importlib.util.spec_from_file_location(
        "samples_mlperf", ROOT / "examples/mlperf_tiny/samples/mlperf_tiny.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_keywords_by_the_lists_of_the_archive(readers: Any, tmp_path: Path) -> None:
    mlperf_tiny.speech(tmp_path, each=6)
    made = readers.keywords([tmp_path / "none", tmp_path])
    counts = Counter(zip(made["split"].tolist(), made["y"].tolist(), strict=True))
    # of each known word two recordings validate and three test; a tenth of those, two at least, are silence and others
    assert all(counts[split, word] == count for split, count in (("validation", 2), ("test", 3)) for word in range(10))
    assert all(counts["train", word] == 1 for word in range(10))
    assert counts["test", 10] == counts["test", 11] == 3 and counts["validation", 10] == 2
    assert {made["x"][number].shape for number in range(len(made["x"]))} == {(16000,)}
    assert made["x"][0].dtype == np.int16 and len(made["x"]) == len(made["y"])


def test_people_by_folder(readers: Any, tmp_path: Path) -> None:
    mlperf_tiny.people(tmp_path, each=3)
    made = readers.people([tmp_path])
    assert made["y"].tolist() == [0, 0, 0, 1, 1, 1] and list(made["classes"]) == ["non_person", "person"]
    assert made["x"][5].shape == (96, 96, 3) and made["x"][5].dtype == np.uint8


def test_machines_by_the_names_of_files(readers: Any, tmp_path: Path) -> None:
    mlperf_tiny.machines(tmp_path, train=2, each=1)
    made = readers.machines([tmp_path])
    assert made["y_train"].tolist() == [0, 0] and made["y_test"].tolist() == [1, 0]  # anomaly_… before normal_…
    windows = made["x_test"][0]
    assert windows.shape == (640, 196) and windows.dtype == np.float32 and np.isfinite(windows).all()
    # a window is five frames, and the next begins one later
    assert np.array_equal(windows[128:, :-1], windows[:-128, 1:])


def test_a_tone_is_in_its_band(readers: Any, tmp_path: Path) -> None:
    time = np.arange(10 * 16000) / 16000
    for hertz in (500, 4000):
        mlperf_tiny.wav(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * hertz * time))
        loudest = int(readers.windows(tmp_path / "a.wav")[:128].mean(1).argmax())
        bank = readers.mel_bank()
        assert abs(bank[:, loudest].argmax() * 16000 / 1024 - hertz) < 0.06 * hertz


def test_a_set_that_is_nowhere_says_what_to_put_where(readers: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ToyCar is in no data root .*; unpack dev_data_ToyCar\.zip into"):
        readers.machines([tmp_path])


def test_images_of_the_python_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real files are known by their sums, which these have not."""
    mlperf_tiny.images(tmp_path)
    import_torchvision("datasets")
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    made = torchvision_files.read("cifar10", [tmp_path], tmp_path)
    assert made.x.shape == (100, 3, 32, 32) and made.x_test is not None and made.x_test.shape == (20, 3, 32, 32)
    assert made.y is not None and made.y[:12].tolist() == [*range(10), 0, 1] and made.classes[8] == "ship"
