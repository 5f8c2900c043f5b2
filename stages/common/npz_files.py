"""Npz files larger than memory: their arrays are mapped where they lie in it, and written a few samples at a time.

What `np.savez` writes is a zip archive whose entries are npy files, as they are. So an array is a part of the file that
the system pages in as it is looked at, and out again where memory is short. What `np.savez_compressed` wrote has to be
read as a whole.
"""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_LOCAL_HEADER = struct.Struct("<26xHH")
"""of an entry: lengths of its name and of what else is said of it, which come before its content"""
_AT_ONCE = 2**20
"""bytes"""
CHUNK = 2**24
"""bytes of samples that are held at once"""
LARGE = 2**28
"""bytes of an array that may be larger than what memory is left for it"""


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of the file by its name, read-only; those that are stored as they are lie in the file.

    What else the archive holds is left out, as NumPy does. Each entry is read once, by which a damaged one is found.
    Raises what zipfile and numpy raise for a damaged file: OSError, ValueError, zipfile.BadZipFile, zlib.error;
    ObjectArray for an array of objects.
    """
    with zipfile.ZipFile(path) as archive:
        found = {entry.filename.removesuffix(".npy"): _array(path, archive, entry) for entry in archive.infolist()}
    return {name: array for name, array in found.items() if array is not None}


def _array(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any] | None:
    with archive.open(entry) as file:
        begins = file.read(len(npy.MAGIC_PREFIX))
        file.seek(0)
        if begins != npy.MAGIC_PREFIX:
            _read_out(file)
            return None
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ObjectArray(entry.filename.removesuffix(".npy"))
        if entry.compress_type != zipfile.ZIP_STORED:
            return _unpacked(archive, entry)
        header = file.tell()
        # to the end: zipfile compares the checksum there
        _read_out(file)
    size = math.prod(shape) * dtype.itemsize
    if header + size > entry.file_size:
        raise ValueError(f"{entry.filename} is cut short")
    order: Any = "F" if fortran else "C"
    if not size:  # nothing can be mapped
        return np.empty(shape, dtype, order)
    offset = _start(path, entry) + header
    return np.asarray(np.memmap(path, dtype, "r", offset, shape, order))


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(entry) as file:
        found: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        _read_out(file)
        return found


def _read_out(file: IO[bytes]) -> None:
    while file.read(_AT_ONCE):
        pass


def _start(path: Path, entry: zipfile.ZipInfo) -> int:
    """Where the content of an entry begins in the file."""
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        name, more = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    return entry.header_offset + _LOCAL_HEADER.size + int(name) + int(more)


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the first axis is the quickest, and dtype of the npy file that begins here."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(file)
    return found


class ObjectArray(ValueError):
    """The array of that name holds objects, which are a pickle."""


@dataclass(frozen=True)
class Written:
    """An array to be written: samples of one shape and dtype, a few at a time."""

    count: int
    of: Callable[[slice], NDArray[Any]]
    """samples by their places; of slices that follow each other"""
    made_of: int = 0
    """bytes of what a sample is made of, where that is more than it is"""


def write(path: Path, arrays: Mapping[str, Written]) -> None:
    """The same bytes as `np.savez` of the whole arrays: they depend on the arrays alone, since no date is in them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                _write(file, array)


def _write(file: IO[bytes], array: Written) -> None:
    first = array.of(slice(0, 1))
    head = {"shape": (array.count, *first.shape[1:]), "fortran_order": False, "descr": npy.dtype_to_descr(first.dtype)}
    npy.write_array_header_1_0(file, head)
    for part in slices(array.count, max(1, first.nbytes, array.made_of)):
        file.write(np.ascontiguousarray(array.of(part)).data)


def slices(count: int, sample_bytes: int) -> Iterator[slice]:
    """Of `count` samples those that are held at once, one after the other."""
    step = max(1, CHUNK // sample_bytes)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def pick(array: Any, which: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """The samples (N, ...) of an array, or of what is indexed as one, at these places, in this order."""
    if isinstance(array, np.ndarray):
        fetch(array, which)
    found: NDArray[Any] = array[which]
    return found


def fetch(array: NDArray[Any], which: NDArray[np.integer[Any]]) -> None:
    """Have the system read these samples (of N) of a large mapped array, before they are looked at in this order.

    Looked at in random order, each would have the system read what lies around it as well, 128 kB unless this machine
    says otherwise; where memory is too small for the array that is dropped again before it is of use. Of a small
    array, and of one that is not in one piece, nothing is asked. What lies in memory stays as it is.
    """
    if array.nbytes < LARGE or not array.flags.c_contiguous:
        return
    advise = _advise()
    if advise is None:
        return
    start, sample, page = array.ctypes.data, array.nbytes // len(array), mmap.PAGESIZE
    # what is dropped again between here and the look at it is then read alone too
    advise(start // page * page, start % page + array.nbytes, mmap.MADV_RANDOM)
    for number in which.tolist():
        begins = start + number * sample
        first = begins // page * page
        advise(first, begins + sample - first, mmap.MADV_WILLNEED)


@functools.cache
def _advise() -> Callable[[int, int, int], int] | None:
    """`madvise` of the C library; None where there is none."""
    try:
        found = ctypes.CDLL(None).madvise
    except (AttributeError, OSError, TypeError):
        return None
    found.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    advise: Callable[[int, int, int], int] = found
    return advise
