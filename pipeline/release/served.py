"""A release, checked and laid where a verb can use it for as long as it runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import RecastError
from recast.pipeline.processes import verb_call
from recast.pipeline.release import files
from recast.pipeline.release.archive import unpack
from recast.pipeline.release.layout import MANIFEST, MODEL, MOST_BYTES
from recast.pipeline.release.verify import check

_FOLDER = ".recast/released"
"""archives that were laid out, each by the hash of its bytes"""


def is_release(path: Path) -> bool:
    """Whether there is what may be one: a file, or a folder with a manifest. A recipe is neither."""
    return path.is_file() or (path / MANIFEST).is_file()


def served(root: Path, path: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """What a verb is told of the release at the path. RecastError if a byte of it was changed.

    Its signature is not looked at: `verify-release` does that.
    """
    folder = path if path.is_dir() else _laid(root, path)
    checked = check(folder)
    emitted = folder / MODEL
    if not isinstance(checked.manifest.get("emitted_by"), str) or not emitted.is_dir():
        raise RecastError(f"{path} holds no emitted model", "take another copy of the release")
    if checked.is_signed:
        say(f"{path} is signed; by whom was not looked at: 'recast verify-release --key' does")
    return verb_call.released_artifacts(root, emitted.resolve(), checked.manifest, say)


def _laid(root: Path, archive: Path) -> Path:
    place = root / _FOLDER / files.sha256(archive)
    if not place.is_dir():
        fresh = place.with_name(f"{place.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        unpack(archive, fresh, MOST_BYTES)
        fresh.replace(place)
    return place
