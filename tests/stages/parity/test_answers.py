# environment: onnx
"""What the models answered, kept for reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recast.stages.common.samples import Samples
from recast.stages.parity import answers
from tests.stages.parity.test_verify import run


def test_verify_keeps_the_outputs_of_both_models(tmp_path: Path) -> None:
    run(tmp_path)
    expected, actual = answers.read(tmp_path / "verify")
    assert expected.shape == actual.shape == (64, 4)
    assert np.array_equal(expected, actual) and expected.std() > 0


def test_four_digits_are_kept_and_whole_numbers_as_they_are() -> None:
    values = np.array([0.0, 1.23456, -0.000123456, 123456.0, 9.99996], np.float32)
    assert answers.rounded(values).tolist() == pytest.approx([0.0, 1.235, -0.0001235, 123500.0, 10.0], rel=1e-6)
    whole = np.array([2**40 + 1])
    assert answers.rounded(whole) is whole


def test_only_as_many_samples_as_keep_the_file_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_VALUES", 20)
    outputs = np.ones((10, 8), np.float32)
    answers.write(tmp_path, outputs, outputs)
    assert [len(one) for one in answers.read(tmp_path)] == [2, 2]


def test_several_outputs_come_back_by_name_and_the_same_bytes_are_written(tmp_path: Path) -> None:
    outputs = Samples({"boxes.0": np.ones((3, 4), np.float32), "kind": np.arange(3)})
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        answers.write(tmp_path / name, outputs, outputs)
    expected, actual = answers.read(tmp_path / "a")
    assert list(expected.arrays) == list(actual.arrays) == ["boxes.0", "kind"]
    assert (tmp_path / "a" / answers.FILE).read_bytes() == (tmp_path / "b" / answers.FILE).read_bytes()
