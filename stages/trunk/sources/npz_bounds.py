"""What an npz says of itself, checked against what it holds, before any of it is read or memory is taken for it."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from pathlib import Path

from recast.stages.base import StageError
from recast.stages.common.npz_files import read_header
from recast.stages.common.untrusted import GIB, SHARE, free_bytes

SAVE_AGAIN = "save it with np.savez(path, x=..., y=...)"
MOST_DEFLATED = 1100
"""times a file that deflate can make smaller, a little above what it can; another method is refused"""
ENCRYPTED = 1


def check(path: Path, shown: str) -> None:
    """StageError if the file is no plain one, or an array of it is encrypted, not what its header says, or too large.

    A file that is no zip archive at all is left to the reader.
    """
    if path.exists() and not path.is_file():
        raise StageError(f"{shown} is not a plain file", "put the npz itself there")
    if not path.is_file() or not zipfile.is_zipfile(path):
        return
    total = 0
    with zipfile.ZipFile(path) as archive:
        name, times = max(Counter(archive.namelist()).items(), key=lambda item: item[1], default=("", 0))
        if times > 1:
            raise StageError(f"{shown} holds {name[:60]!a} {times} times", SAVE_AGAIN)
        for entry in archive.infolist():
            _check_entry(archive, entry, shown)
            # what is stored as it is stays in the file
            total += entry.file_size if entry.compress_type != zipfile.ZIP_STORED else 0
    free = free_bytes()
    if free is not None and total > free * SHARE:
        raise StageError(
            f"{shown} holds {total / GIB:.1f} GiB of arrays, and may take {free * SHARE / GIB:.1f} GiB of memory",
            "save it with np.savez: without compression it stays in its file",
            "give fewer samples, or samples of a smaller type",
            "close other programs",
        )


def _check_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, shown: str) -> None:
    what = f"{shown}: {entry.filename.removesuffix('.npy')[:60]!a}"
    if entry.flag_bits & ENCRYPTED:
        raise StageError(f"{what} is encrypted", f"{SAVE_AGAIN}, without a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise StageError(f"{what} is compressed in a way that NumPy does not write", SAVE_AGAIN)
    if entry.file_size > entry.compress_size * MOST_DEFLATED + MOST_DEFLATED:
        raise StageError(f"{what} is damaged: it cannot hold what its archive says", SAVE_AGAIN)
    if not entry.filename.endswith(".npy"):
        return
    with archive.open(entry) as file:
        shape, _, dtype = read_header(file)
        header = file.tell()
    held = entry.file_size - header
    # of objects the length says nothing; the reader refuses them
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize != held:
        raise StageError(
            f"{what} is damaged: its header says {dtype} of shape {shape}, and it holds {held} bytes", SAVE_AGAIN
        )
