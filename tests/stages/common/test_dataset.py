# environment: torch
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common.dataset import read, read_contract, read_stored
from tests.lib.contracts import contract as contract_of

CONTRACT = contract_of("own", (2, 1, 1), "uint8", 255.0, (0.5, 0.0), (0.5, 1.0), ("a", "b"))


def test_the_contract_survives_writing_and_reading(tmp_path: Path) -> None:
    CONTRACT.write(tmp_path)
    assert read_contract(tmp_path) == CONTRACT


def test_normalise_divides_then_shifts_and_scales_each_channel() -> None:
    stored = np.array([[[[255]], [[255]]], [[[0]], [[51]]]], np.uint8)
    normalised = CONTRACT.normalise(stored)
    assert normalised.dtype == np.float32 and normalised.shape == stored.shape
    np.testing.assert_allclose(normalised[:, :, 0, 0], [[1, 1], [-1, 0.2]])


def test_features_are_normalised_one_by_one() -> None:
    contract = contract_of("own", (2,), "float32", 1.0, (1.0, 2.0), (1.0, 2.0), ("a", "b"))
    np.testing.assert_allclose(contract.normalise(np.array([[2.0, 6.0]], np.float32)), [[1, 2]])


def test_read_gives_normalised_samples(tmp_path: Path) -> None:
    CONTRACT.write(tmp_path)
    np.savez(tmp_path / "test.npz", x=np.full((3, 2, 1, 1), 255, np.uint8), y=np.zeros(3, np.int64))
    samples, labels = read(tmp_path, "test")
    assert samples.dtype == np.float32 and (samples == 1).all() and labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("text", [None, "{", "[]", '{"dataset": "x"}'])
def test_a_missing_or_damaged_contract_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "input.json").write_text(text)
    with pytest.raises(StageError, match=r"cannot read the input contract .*input\.json"):
        read_contract(tmp_path)


def test_damaged_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"cannot read the test samples from test\.npz"):
        read_stored(tmp_path, "test")
    (tmp_path / "test.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(StageError, match="cannot read the test samples"):
        read_stored(tmp_path, "test")
    CONTRACT.write(tmp_path)
    np.savez(tmp_path / "test.npz", y=np.zeros(2))
    with pytest.raises(StageError, match=r"test\.npz holds no samples of the input 'x'"):
        read_stored(tmp_path, "test")
    np.savez(tmp_path / "test.npz", x=np.zeros(2), y=np.zeros(3))
    with pytest.raises(StageError, match="2 of x, 3 of y"):
        read_stored(tmp_path, "test")


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", x=np.array([print], object), y=np.zeros(1))
    with pytest.raises(StageError, match="cannot read the test samples"):
        read_stored(tmp_path, "test")


def test_an_empty_split_and_nan_are_refused(tmp_path: Path) -> None:
    contract = contract_of("own", (2,), "float32", 1.0, (0.0,), (1.0,), ("a", "b"))
    contract.write(tmp_path)
    np.savez(tmp_path / "test.npz", x=np.zeros((0, 2), np.float32), y=np.zeros(0, np.int64))
    with pytest.raises(StageError, match="the test split is empty"):
        read(tmp_path, "test")
    np.savez(tmp_path / "test.npz", x=np.array([[0, 0], [0, np.nan]], np.float32), y=np.zeros(2, np.int64))
    with pytest.raises(StageError, match=r"NaN or infinity \(first at sample 1\)"):
        read(tmp_path, "test")
