# environment: torch
"""Arrays that lie in their file: the same bytes as NumPy writes, and what it reads, but damage is found too."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
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


def test_of_a_large_array_only_the_samples_that_are_wanted_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the system reads what lies around each sample too, of which as many are asked for as it would take."""
    monkeypatch.setattr(npz_files, "LARGE", 2**20)
    path, rows, sample = tmp_path / "a.npz", 8192, 4 * mmap.PAGESIZE
    np.savez(path, x=np.arange(rows * sample, dtype=np.uint8).reshape(rows, sample))
    array = npz_files.arrays(path)["x"]
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if len(resident(array)) > 8:
        pytest.skip("this file system keeps its files in memory")
    wanted = np.arange(17, rows, 64)
    npz_files.fetch(array, wanted)
    deadline = time.monotonic() + 60
    # a sample begins within a page, and ends in the fifth
    expected = {page for one in wanted.tolist() for page in pages(array, one)}
    while not expected <= resident(array):
        assert time.monotonic() < deadline, "they were not read"
        time.sleep(0.01)
    assert len(resident(array)) < 2 * len(expected)
    small = np.arange(4)
    npz_files.fetch(small, np.array([1]))  # nothing to do, and nothing done


def pages(array: np.ndarray, number: int) -> range:
    """Of a sample, counted from the first of the array."""
    start, sample = array.ctypes.data, array.nbytes // len(array)
    first = start // mmap.PAGESIZE
    begins = start + number * sample
    return range(begins // mmap.PAGESIZE - first, (begins + sample - 1) // mmap.PAGESIZE - first + 1)


def resident(array: np.ndarray) -> set[int]:
    """The pages of the array that lie in memory, by mincore(2)."""
    start = array.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    length = array.ctypes.data + array.nbytes - start
    found = (ctypes.c_ubyte * (-(-length // mmap.PAGESIZE)))()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(start), ctypes.c_size_t(length), found) == 0
    return {page for page, state in enumerate(found) if state & 1}
