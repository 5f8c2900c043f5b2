"""MNIST, Fashion-MNIST and CIFAR-10: found in a data root, or downloaded into one, and read by torchvision."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import socket
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.base import StageError, progress
from recast.stages.common.torch_models.torchvision_import import import_torchvision
from recast.stages.trunk.sources import Source

CLASSES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10"}
CONTENT_MD5 = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
"""MD5 of the unpacked files. torchvision states those of the archives, which change when one is packed
again; CIFAR-10's unpacked files it checks itself."""
DOWNLOAD_STALL = 30.0
"""seconds without a byte after which a download has failed"""


def read(dataset: str, roots: Sequence[Path], scratch: Path) -> Source:
    """uint8 (N, 1, 28, 28) or (N, 3, 32, 32), in the order of the dataset's files, with its own test split.

    The first root that holds the dataset as torchvision lays it out, packed or unpacked, is read and
    never written to; files are unpacked into `scratch`, and checked there. If no root holds it, it is
    downloaded, and its archives kept in the first root. StageError if a file is damaged or the download
    fails.
    """
    kind = getattr(import_torchvision("datasets"), CLASSES[dataset])
    if not roots:
        raise StageError(f"there is nowhere to look for {dataset}", "set data_root in params.yaml")
    unpacked = next((place for root in roots if (place := _unpacked(dataset, kind, root, scratch))), None)
    if unpacked is None:
        _download(dataset, kind, roots, scratch)
        unpacked = scratch
    try:
        train, test = (kind(unpacked, train=train, download=False) for train in (True, False))
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise StageError(f"{dataset} is damaged: {error}", _FETCH_AGAIN) from error
    (x, y), (x_test, y_test) = _arrays(train), _arrays(test)
    return Source(x, y, x_test, y_test, tuple(str(name) for name in train.classes))


_FETCH_AGAIN = "delete it, so that it is fetched again"


def _archives(dataset: str, kind: Any) -> list[str]:
    """The dataset's archives, as paths below a data root."""
    if dataset == "cifar10":
        return [kind.filename]
    return [f"{kind.__name__}/raw/{name}.gz" for name in CONTENT_MD5[dataset]]


def _unpacked(dataset: str, kind: Any, root: Path, scratch: Path) -> Path | None:
    """The place from which torchvision can read the dataset that `root` holds; None if it does not hold it."""
    if dataset == "cifar10":
        if (root / kind.base_folder).is_dir():
            return root
        archive = root / kind.filename
        if not archive.is_file():
            return None
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(scratch, filter="data")
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise StageError(f"{archive} is damaged: {error}", _FETCH_AGAIN) from error
        return scratch

    folder = f"{kind.__name__}/raw"
    found = {}
    for name in CONTENT_MD5[dataset]:
        here = [path for path in (root / folder / f"{name}.gz", root / folder / name) if path.is_file()]
        if not here:
            return None
        found[name] = here[0]
    for name, path in found.items():
        _unpack_checked(path, scratch / folder / name, CONTENT_MD5[dataset][name])
    return scratch


def _unpack_checked(path: Path, target: Path, md5: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as source, target.open("wb") as plain:
            shutil.copyfileobj(source, plain)
    except (OSError, EOFError, zlib.error) as error:
        raise StageError(f"{path} is damaged: {error}", _FETCH_AGAIN) from error
    with target.open("rb") as plain:
        found = hashlib.file_digest(plain, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise StageError(f"{path} is damaged: the MD5 of its content is {found}, not {md5}", _FETCH_AGAIN)


def _download(dataset: str, kind: Any, roots: Sequence[Path], scratch: Path) -> None:
    """Download into `scratch`, where torchvision checks and unpacks, then keep the archives in the first root."""
    looked, keep, archives = ", ".join(str(root) for root in roots), roots[0], _archives(dataset, kind)
    by_hand = f"put {', '.join(archives)} below a data root by hand"
    try:
        for archive in archives:
            (keep / archive).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StageError(
            f"{dataset} is in no data root ({looked}), and {keep} cannot be written: {error.strerror}",
            f"{by_hand}, or set data_root in params.yaml to a place that can be written",
        ) from error
    progress(f"downloading {dataset}")
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_STALL)
    try:
        kind(scratch, download=True)
    except (RuntimeError, OSError) as error:  # URLError is an OSError
        said = str(error).strip().splitlines()
        raise StageError(
            f"{dataset} is in no data root ({looked}), and its download failed: {said[-1] if said else repr(error)}",
            f"{by_hand}, or check the network",
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
    for archive in archives:
        # under a name of its own, then renamed: another run may be doing the same
        partial = keep / f"{archive}.{os.getpid()}.part"
        shutil.copyfile(scratch / archive, partial)
        partial.replace(keep / archive)


def _arrays(dataset: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    samples, labels = np.asarray(dataset.data), np.asarray(dataset.targets, dtype=np.int64)
    # MNIST has no channel axis, CIFAR-10 has it last
    return (samples[:, None] if samples.ndim == 3 else samples.transpose(0, 3, 1, 2)), labels
