"""The files of a release that lies in a folder, and their checksums."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import RecastError
from recast.pipeline.release.layout import CHECKSUMS, MOST_DOCUMENT_BYTES, MOST_FILES, SIGNATURE

_OTHER_COPY = "take another copy of the release"


def found(folder: Path) -> dict[str, int]:
    """name -> bytes of every file of the folder and those in it, sorted.

    Raises RecastError for anything that is no plain file or folder: a link may lead anywhere.
    """
    sizes: dict[str, int] = {}
    waiting = [folder]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            name = Path(entry.path).relative_to(folder).as_posix()
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                waiting.append(Path(entry.path))
            elif stat.S_ISREG(mode):
                sizes[name] = entry.stat(follow_symlinks=False).st_size
            else:
                kind = "a link" if stat.S_ISLNK(mode) else "no plain file"
                raise RecastError(f"{name} is {kind}, and a release holds plain files alone", "remove it")
            if len(sizes) > MOST_FILES:
                raise RecastError(f"{folder} holds more than {MOST_FILES} files", "it is no release")
    return dict(sorted(sizes.items()))


def sha256(path: Path) -> str:
    """Of the file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path, names: Mapping[str, object] | list[str]) -> dict[str, str]:
    """name -> SHA-256, of these files of the folder."""
    return {name: sha256(folder / name) for name in sorted(names)}


def summed(names: Mapping[str, object]) -> list[str]:
    """Those of the names that SHA256SUMS speaks of."""
    return [name for name in names if name not in (CHECKSUMS, SIGNATURE)]


def as_text(sums: Mapping[str, str]) -> bytes:
    """As `sha256sum` writes it."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()


def read_sums(content: bytes) -> dict[str, str]:
    """name -> SHA-256. RecastError unless it is, byte by byte, what `as_text` writes."""
    sums: dict[str, str] = {}
    try:
        for line in content.decode().splitlines():
            digest, _, name = line.partition("  ")
            sums[name] = digest
    except UnicodeDecodeError:
        sums = {}
    sound = all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in sums.values())
    if not sums or not sound or as_text(sums) != content:
        raise RecastError(f"{CHECKSUMS} is no list of checksums as `recast release` writes it", "it was changed")
    return sums


def document(folder: Path, name: str) -> dict[str, Any]:
    """A JSON document of the release. RecastError if it is too large, or none."""
    path = folder / name
    try:
        if path.stat().st_size > MOST_DOCUMENT_BYTES:
            raise RecastError(f"{name} is larger than {MOST_DOCUMENT_BYTES} bytes", "it is no release")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RecastError(f"{name} cannot be read: {type(error).__name__}", _OTHER_COPY) from error
    if not isinstance(content, dict):
        raise RecastError(f"{name} holds no JSON object", _OTHER_COPY)
    return content
