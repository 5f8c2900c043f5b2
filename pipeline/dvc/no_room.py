"""Why no file can be made somewhere, asked of the system: DVC only says that no kind of link was possible."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

PROBE_BYTES = 2**16
"""more than a file system has left that is full but for its last blocks"""
FULL = (errno.ENOSPC, errno.EDQUOT)


def hindrance(paths: Iterable[Path]) -> tuple[str, str] | None:
    """What keeps files from being made at one of the paths, and how to mend it; None if nothing does."""
    folders = dict.fromkeys(next(folder for folder in path.parents if folder.is_dir()) for path in paths)
    for folder in folders:
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"\0" * PROBE_BYTES)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            return f"nothing can be written to {folder}: {error.strerror}", remedy(error.errno)
    return None


def remedy(number: int | None) -> str:
    """How what the system says may be mended."""
    if number in FULL:
        return (
            "free space there ('dvc gc --workspace' deletes results that no recipe makes any more), then run it again"
        )
    return "see that the folder may be written to, then run it again"
