"""The size of what a target hands on: the files that compute the scores, without examples, contracts and READMEs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recast.stages.base import StageError


def size(emitted: Path, ships: Sequence[str]) -> int:
    """Bytes on disk of the files that match the patterns of `Stage.ships`; StageError if a named one is missing."""
    found = {pattern: [path for path in emitted.glob(pattern) if path.is_file()] for pattern in ships}
    missing = [pattern for pattern, paths in found.items() if not paths and "*" not in pattern]
    if missing:
        raise StageError(f"{emitted.name}/ holds no {missing[0]}", "run emit again")
    return sum(path.stat().st_size for path in {path for paths in found.values() for path in paths})
