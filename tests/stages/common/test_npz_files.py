# environment: torch
"""Arrays that lie in their file: the same bytes as NumPy writes, and what it reads, but damage is found too."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.common import npz_files
from recast.stages.common.dataset import Contract, Input, Normalised, parts_of, taken, taken_one_by_one

RANDOM = np.random.default_rng(0)
ARRAYS: dict[str, Any] = {
    "bytes": RANDOM.integers(0, 256, (7, 3, 5)).astype(np.uint8),
    "floats": RANDOM.normal(size=(7, 4)).astype(np.float32),
    "labels": np.arange(7),
    "flags": np.arange(7) % 2 == 0,
    "words": np.array(["a", "bcd", "", "e", "f", "g", "hi"]),
    "nothing": np.empty((0, 3), np.float32),
}


def written(array: np.ndarray) -> npz_files.Written:
    return npz_files.Written(len(array), lambda part: array[part])


@pytest.mark.parametrize("chunk", [1, 2**24])
def test_what_is_written_is_what_numpy_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(npz_files, "CHUNK", chunk)
    arrays = {**ARRAYS, "turned": np.asfortranarray(ARRAYS["floats"])}
    npz_files.write(tmp_path / "mine.npz", {name: written(array) for name, array in arrays.items()})
    np.savez(tmp_path / "numpy.npz", **{name: np.ascontiguousarray(array) for name, array in arrays.items()})
    assert (tmp_path / "mine.npz").read_bytes() == (tmp_path / "numpy.npz").read_bytes()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_wrote_is_read(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "a.npz", turned=np.asfortranarray(ARRAYS["bytes"]), **ARRAYS)
    found = npz_files.arrays(tmp_path / "a.npz")
    assert list(found) == ["turned", *ARRAYS]
    for name, array in ARRAYS.items():
        assert np.array_equal(found[name], array) and found[name].dtype == array.dtype
    assert np.array_equal(found["turned"], ARRAYS["bytes"])
    in_file = save is np.savez
    assert isinstance(found["bytes"].base, np.memmap) == in_file and found["bytes"].flags.writeable != in_file


def test_what_is_no_array_is_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("notes.txt", "by hand")
    assert list(npz_files.arrays(tmp_path / "a.npz")) == ["x"]


def test_damage_is_found_before_anything_is_used(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros(1000, np.uint8))
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        npz_files.arrays(path)


def test_objects_are_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(npz_files.ObjectArray, match="x"):
        npz_files.arrays(tmp_path / "a.npz")


def test_samples_made_one_by_one_are_those_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = RANDOM.integers(0, 256, (9, 2, 3, 3)).astype(np.uint8)
    contract = Contract("d", (Input("x", (2, 3, 3), "uint8", 255.0, (0.5, 0.2), (0.3, 0.4)),))
    every, lazy = taken(contract, stored, "test"), taken_one_by_one(contract, stored, "test")
    assert isinstance(lazy, Normalised) and len(lazy) == 9 and lazy.shape == every.shape and lazy.dtype == every.dtype
    for index in (slice(2, 5), [4, 0], slice(None)):
        assert np.array_equal(lazy[index], every[index])
    assert np.array_equal(np.asarray(lazy), every)
    assert list(parts_of(every)) == list(parts_of(lazy)) == [slice(0, 9)]
    monkeypatch.setattr(npz_files, "CHUNK", 4 * 72)
    assert list(parts_of(lazy)) == [slice(0, 4), slice(4, 8), slice(8, 9)]
