"""`recast prune-keys`: the proving keys of circuits that this clone no longer has, listed, or deleted.

A circuit is what an `emit` of this clone's artifacts has written. Keys that a running stage, proof or service uses are
kept as well. Nothing that is deleted is lost: the keys of a circuit that comes back are made again when it proves.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recast.stages.base import StageError
from recast.stages.targets.ezkl.keys import keys, srs
from recast.stages.targets.ezkl.keys.local_store import HALF, STORE, alone_with
from recast.stages.verb import Artifacts, Verb

ARTIFACTS = "artifacts"
ROOT = Path(__file__).resolve().parents[4]
"""of this clone"""
MIB = 2**20


@dataclass(frozen=True)
class Unused:
    """A file or folder that may be deleted, the folder of keys it belongs to, and why."""

    path: Path
    folder: Path
    why: str

    @property
    def size(self) -> int:
        """In bytes."""
        return _size(self.path)


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--delete", action="store_true", help="delete them; without it they are only listed")


def run(options: Mapping[str, Any], artifacts: Artifacts | None) -> None:
    """List or delete the keys of this clone that no circuit uses. Raises StageError."""
    prune(ROOT, options["delete"])


def prune(root: Path, delete: bool = False) -> None:
    """Say what lies in the store of the clone at `root`, and delete what is unused if `delete` says so.

    Raises StageError, before anything is deleted, if a circuit cannot be read.
    """
    circuits = _circuits(root)
    folders = sorted(path for path in (root / STORE / "ezkl").glob("*") if _holds_keys(path))
    if not folders:
        print("there are no keys here")
        return
    for folder in folders:
        if folder.name in circuits:
            size = sum(_size(path) for path in folder.iterdir() if path.suffix != HALF)
            _say("kept", size, ", ".join(circuits[folder.name]))
    total = 0
    for unused in _unused(folders, circuits):
        size = unused.size
        with alone_with(unused.folder) as alone:
            if alone and delete:
                shutil.rmtree(unused.path) if unused.path.is_dir() else unused.path.unlink()
        total += size if alone else 0
        _say(
            ("deleted" if delete else "unused") if alone else "in use", size, f"{unused.folder.name[:12]}: {unused.why}"
        )
    if total and not delete:
        print(f"'recast prune-keys --delete' frees {total / MIB:.0f} MiB")


def _circuits(root: Path) -> dict[str, list[str]]:
    """Identity of its keys -> where a circuit was emitted."""
    found: dict[str, list[str]] = {}
    for record in sorted((root / ARTIFACTS).rglob(srs.RECORD)):
        place = record.parent.relative_to(root).as_posix()
        try:
            identity = keys.identity(record.parent, srs.read(record.parent).sha256)
        except (OSError, StageError) as error:
            raise StageError(f"cannot tell whose keys {place} has: {error}", "run emit again, or delete it") from error
        found.setdefault(identity, []).append(place)
    return found


def _unused(folders: list[Path], circuits: Mapping[str, list[str]]) -> Iterator[Unused]:
    for folder in folders:
        if folder.name not in circuits:
            yield Unused(folder, folder, "no emitted circuit has these keys")
            continue
        for half in sorted(folder.glob(f"*{HALF}")):
            yield Unused(half, folder, "what a run left unfinished")


def _holds_keys(path: Path) -> bool:
    return re.fullmatch("[0-9a-f]{64}", path.name) is not None and path.is_dir() and not path.is_symlink()


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files)


def _say(what: str, size: int, rest: str) -> None:
    print(f"{what:<7} {size / MIB:>7.0f} MiB  {rest}")


VERB = Verb(
    arguments,
    run,
    example="recast prune-keys --delete",
    more="Only listed without --delete. Keys of a circuit that comes back are made again.",
)
