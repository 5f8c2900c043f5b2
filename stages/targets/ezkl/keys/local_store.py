"""Where large files lie that are rebuilt when they are missing: proving keys, SRS files and the Solidity compiler.

They are in no output, so DVC neither hashes nor uploads them. A stage is told no place for them; the store is
`.recast/local` of the repository its output lies in, which git and DVC ignore, so all recipes of a clone share it.
Outside a repository, as in a test, it is beside the output.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

STORE = Path(".recast/local")
HALF = ".half"
"""the end of a name that is being written to"""
_held: dict[Path, int] = {}
"""folder -> the descriptor whose lock keeps it, until this process ends"""


def local_store(out: Path) -> Path:
    """The store of the repository that `out` lies in; it need not exist yet."""
    out = out.resolve()
    for folder in out.parents:
        if (folder / STORE.parent).is_dir():
            return folder / STORE
    return out.parent / STORE


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name to write to that becomes `path` if the body succeeds, and is deleted if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.{os.getpid()}{HALF}")
    try:
        yield half
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


@contextmanager
def log_of(verb: str, store: Path) -> Iterator[IO[str]]:
    """`.recast/logs/VERB.log`, empty: what EZKL prints does not belong on the user's terminal."""
    path = store.parent / "logs" / f"{verb}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as log:
        yield log


def hold(folder: Path) -> None:
    """Keep a folder of the store from being deleted until this process ends, however it does; it need not exist."""
    folder = folder.resolve()
    if folder not in _held:
        descriptor = _open_lock(folder)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _held[folder] = descriptor


@contextmanager
def alone_with(folder: Path) -> Iterator[bool]:
    """Whether no process holds the folder; while the body runs, none that wants to does."""
    descriptor = _open_lock(folder.resolve())
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _open_lock(folder: Path) -> int:
    """Beside the folder and never deleted, so that all processes mean the same file; no child inherits it."""
    locks = folder.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return os.open(locks / folder.name, os.O_RDWR | os.O_CREAT, 0o666)


def sha256(path: Path) -> str:
    """Of the file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
