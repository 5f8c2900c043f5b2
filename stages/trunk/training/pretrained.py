"""Find pretrained weights in a data root, or download them into one. The SHA-256 says which file is meant."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from recast.stages.base import StageError, progress

DOWNLOAD_STALL = 30.0
"""seconds without a byte after which a download has failed"""


def find(name: str, url: str | None, sha256: str, roots: Sequence[Path]) -> Path:
    """The file `name` below the first root that holds it, or downloaded from `url` into the first root.

    Raises StageError if there is none, the download fails, or the file has another SHA-256.
    """
    here = next((root / name for root in roots if (root / name).is_file()), None)
    looked = ", ".join(str(root) for root in roots) or "none is set"
    if here is not None:
        check_sha256(here, str(here), sha256, "delete it, or correct train.sha256")
        return here
    if url is None or not roots:
        raise StageError(
            f"{name} is in no data root ({looked})",
            "put it below one, or set train.url to where it can be downloaded",
        )
    target = roots[0] / name
    # under a name of its own, then renamed: another run may be doing the same
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    progress(f"downloading {url}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=DOWNLOAD_STALL) as response, partial.open("wb") as file:
            shutil.copyfileobj(response, file)
        check_sha256(partial, url, sha256, "correct train.url or train.sha256")
        partial.replace(target)
    except OSError as error:  # URLError is one
        raise StageError(
            f"{name} is in no data root ({looked}), and its download from {url} failed: {error}",
            "put it below a data root by hand, or check the network",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def check_sha256(path: Path, shown: str, expected: str, remedy: str) -> None:
    """StageError unless the file, called `shown` in messages, has this SHA-256."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.lower():
        raise StageError(f"{shown} has SHA-256 {found}; the recipe expects {expected.lower()}", remedy)
