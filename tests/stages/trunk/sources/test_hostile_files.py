# environment: torch
"""Samples that somebody hostile, or a damaged disk, gave: one clear refusal, at once, and no memory taken for it."""

from __future__ import annotations

import io
import os
import random
import struct
import time
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recast.stages.base import StageError
from recast.stages.trunk.sources import image_folder, npz_file
from tests.lib.damage import flipped
from tests.lib.tally import Tally

WITHIN_S = 5.0


def npy(array: np.ndarray, said: tuple[int, ...] | None = None, dtype: str = "") -> bytes:
    """An array as numpy saves it; with `said`, its header tells of another shape."""
    made = io.BytesIO()
    header = {"descr": dtype or array.dtype.str, "fortran_order": False, "shape": said or array.shape}
    np.lib.format.write_array_header_1_0(made, header)  # type: ignore[arg-type]
    return made.getvalue() + array.tobytes()


def archive(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in entries.items():
            made.writestr(name, content)
    return path


X, Y = npy(np.zeros((4, 2), np.float32)), npy(np.arange(4) % 2)


def refusal(path: Path) -> str:
    begun = time.monotonic()
    with pytest.raises(StageError) as caught:
        npz_file.read(path, path.name, "nchw")
    assert time.monotonic() - begun < WITHIN_S and caught.value.remedy
    return caught.value.message


@pytest.mark.parametrize(
    ("said", "dtype"), [((10**9, 4), ""), ((2**62, 2**62), ""), ((2, 2), ""), ((4, 2), "<f8"), ((4, 2), "|V1000000000")]
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_header_that_lies(tmp_path: Path, said: tuple[int, ...], dtype: str, method: int) -> None:
    lying = npy(np.zeros((4, 2), np.float32), said, dtype)
    path = archive(tmp_path / "a.npz", {"x.npy": lying, "y.npy": Y}, method)
    assert "'x' is damaged: its header says" in refusal(path)


def test_an_honest_npz_is_read_compressed_or_not(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", x=np.zeros((1000, 1000), np.uint8), y=np.arange(1000) % 2)
        assert npz_file.read(tmp_path / "a.npz", "a.npz", "nchw").x.shape == (1000, 1000)


def test_an_encrypted_archive(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"x.npy": X, "y.npy": Y})
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    assert refusal(path) == "a.npz: 'x' is encrypted"


def test_an_archive_that_says_it_is_larger_than_it_can_be(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"x.npy": X, "y.npy": Y}, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 2**31)
    path.write_bytes(content)
    assert "cannot hold what its archive says" in refusal(path)


def test_arrays_beyond_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.npz", {"x.npy": npy(np.zeros((2**20,), np.uint8))}, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr("recast.stages.trunk.sources.npz_bounds.free_bytes", lambda: 2**20)
    assert "holds 0.0 GiB of arrays, and may take" in refusal(path)


def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as made:
        made.writestr("x.npy", X)
        made.writestr("x.npy", X)
    assert "holds 'x.npy' 2 times" in refusal(path)


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    assert "is not a plain file" in refusal(tmp_path / "a.npz")
    with pytest.raises(StageError, match="is not a plain file"):
        os.mkfifo(tmp_path / "a.png")
        image_folder.read_pixels(tmp_path / "a.png", "a.png")


def test_an_image_with_too_many_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.ppm"
    for said, message in ((b"99999 99999", "more pixels than an image may"), (b"9999 9999", "it is damaged")):
        path.write_bytes(b"P6 " + said + b" 255\n" + b"\0" * 30)
        with pytest.raises(StageError, match=message):
            image_folder.read_pixels(path, "a.ppm")


@pytest.mark.parametrize("count", [40, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("suffix", ["ppm", "png", "jpg", "bmp", "webp", "tif"])
@pytest.mark.fault("bits of an image flipped (ppm, png, jpg, bmp, webp, tif): read or refused, at once")
@pytest.mark.filterwarnings("ignore")
def test_flipped_bits_of_images(tmp_path: Path, tally: Tally, suffix: str, count: int) -> None:
    choose, path, refused = random.Random(suffix), tmp_path / f"a.{suffix}", 0
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)).save(path)
    content = path.read_bytes()

    def read() -> None:
        pixels = image_folder.read_pixels(path, path.name)
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.size

    for number in range(count):
        path.write_bytes(flipped(content, choose))
        refused += tally.refused_or_done(f"{suffix} {number}", read, StageError, WITHIN_S)
    assert not tally.losses, tally.losses[:3]
    assert 0 < refused <= count


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.fault("bits of an npz file flipped, stored or compressed: read or refused, at once")
@pytest.mark.filterwarnings("ignore")
def test_flipped_bits_of_an_npz(tmp_path: Path, tally: Tally, count: int) -> None:
    choose, path, refused = random.Random(0), tmp_path / "a.npz", 0
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        content = archive(path, {"x.npy": X, "y.npy": Y}, method).read_bytes()
        for number in range(count // 2):
            path.write_bytes(flipped(content, choose))
            read = partial(npz_file.read, path, path.name, "nchw")
            refused += tally.refused_or_done(f"{method} {number}", read, StageError, WITHIN_S)
    assert not tally.losses, tally.losses[:3]
    assert 0 < refused < count
