"""Remembers that everything was up to date, so that asking again costs a look at the files and no more.

The evidence is that of DVC's own database of hashes, and the change time, which nobody can set back: a
file whose times, size and inode are the same was not changed. It covers what the stages read and made,
the cached objects behind that, the recipes, dvc.yaml and dvc.lock, Recast's own code, and every folder in
which a new dvc.yaml could appear. It is taken before the stages are looked at, so that an edit in between
is noticed.

Imports nothing but the standard library: DVC alone takes longer to import than all of this.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from stat import S_ISDIR
from typing import Any

FOLDER = ".recast/up_to_date"
_FORMAT = 3
# Recast's own code and what it reads before it knows of any stage
_SOURCES = (
    *("recipes", "params.yaml", "pipeline", "stages", "envs", "dvc.yaml"),
    *(".dvcignore", ".dvc/config", ".dvc/config.local"),
)


@dataclass
class Evidence:
    """Paths relative to the root (or absolute, for what lies outside it) -> how they looked."""

    trees: dict[str, str] = field(default_factory=dict)
    """files, and folders with all that is in them"""
    folders: dict[str, str] = field(default_factory=dict)
    """folders of which only the list of entries counts"""
    objects: dict[str, str] = field(default_factory=dict)
    """single files, each of which was looked at"""

    def holds(self, root: Path) -> bool:
        """Whether everything looks as it did."""
        return (
            all(stamp(root / path) == seen for path, seen in self.trees.items())
            and all(_entries(root / path) == seen for path, seen in self.folders.items())
            and all(stamp(root / path) == seen for path, seen in self.objects.items())
        )

    def sources(self) -> Evidence:
        """The part that was taken before the stages were known."""
        return Evidence({path: seen for path, seen in self.trees.items() if path in _SOURCES})

    def add(self, root: Path, trees: Iterable[str], folders: Iterable[str] = (), objects: Iterable[str] = ()) -> None:
        """Note how these look now; what was noted before stays as it was seen then."""
        for path in trees:
            if path not in self.trees:
                self.trees[path] = stamp(root / path)
        self.folders |= {path: _entries(root / path) for path in folders}
        for path in objects:
            if path not in self.objects:
                self.objects[path] = stamp(root / path)


def sources(root: Path) -> Evidence:
    """How everything looks that is read before the stages are known."""
    evidence = Evidence()
    evidence.add(root, _SOURCES)
    return evidence


def stamp(path: Path) -> str:
    """Changes when the file, or anything below the folder, does; what is not there has a stamp too."""
    try:
        found = path.stat()
    except OSError:
        return "absent"
    if not S_ISDIR(found.st_mode):
        return _one(found)
    digest = hashlib.sha256()
    above = [folder.stat() for folder in (path, *path.absolute().parents)]
    for line in sorted(_below(str(path), "", frozenset((looks.st_dev, looks.st_ino) for looks in above))):
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _below(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterable[str]:
    """A line for each entry; `above`: the folder and those it lies in, into which a link may lead back."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == "__pycache__":
                continue
            try:
                looks = entry.stat()
            except OSError:
                yield f"{prefix}{entry.name} dangling\n"
                continue
            if not entry.is_dir():
                yield f"{prefix}{entry.name} {_one(looks)}\n"
                continue
            yield f"{prefix}{entry.name}/\n"
            this = (looks.st_dev, looks.st_ino)
            if this not in above:
                yield from _below(entry.path, f"{prefix}{entry.name}/", above | {this})


def _one(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_size} {found.st_ino}"


def _entries(folder: Path) -> str:
    try:
        return str(folder.stat().st_mtime_ns)
    except OSError:
        return "absent"


@dataclass(frozen=True)
class Memory:
    """What was up to date, and what is shown of it."""

    stages: tuple[str, ...]
    tables: tuple[Any, ...]
    warning: str = ""
    """what was said of recipes that were left out; it holds as long as nothing has changed"""


def _place(root: Path, request: object) -> Path:
    # the place of the repository is part of it: a copied folder has to be looked at anew
    key = json.dumps([_FORMAT, str(root), request], sort_keys=True)
    return root / FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def recall(root: Path, request: object) -> Memory | None:
    """What is known to be up to date for this request; None if anything has changed since, or nothing is known."""
    try:
        said = json.loads(_place(root, request).read_text(encoding="utf-8"))
        evidence = Evidence(**said["evidence"])
        if evidence.holds(root):
            return Memory(tuple(said["stages"]), tuple(said["tables"]), said["warning"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def remember(root: Path, request: object, evidence: Evidence, memory: Memory) -> None:
    """Keep it for the next time. `evidence` must be from before the stages were found up to date."""
    place = _place(root, request)
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_suffix(".new")
    fresh.write_text(json.dumps({"evidence": asdict(evidence), **asdict(memory)}), encoding="utf-8")
    fresh.replace(place)
