"""Remembers what was up to date, so that asking again costs a look at the files, and an edit a look at what it reaches.

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
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from recast.pipeline.core.whole_file import replaced

FOLDER = ".recast/up_to_date"
_FORMAT = 5
# Recast's own code and what it reads before it knows of any stage
PLANNED_FROM = ("recipes", "params.yaml", "src", "stages", "envs")
"""what a plan is made from"""
FIXED = ("pipeline", "dvc.yaml", ".dvcignore", ".dvc/config", ".dvc/config.local")
"""what decides how everything else is looked at"""
_SOURCES = (*PLANNED_FROM, *FIXED)


@dataclass
class Evidence:
    """Paths relative to the root (or absolute, for what lies outside it) -> how they looked."""

    trees: dict[str, str] = field(default_factory=dict)
    """files, and folders with all that is in them"""
    folders: dict[str, str] = field(default_factory=dict)
    """folders of which only the list of entries counts, and of that what DVC looks for"""
    passed_over: list[str] = field(default_factory=list)
    """folders in these in which DVC looks for nothing"""
    objects: dict[str, str] = field(default_factory=dict)
    """single files, each of which was looked at"""
    installed: dict[str, str] = field(default_factory=dict)
    """the packages of plugins"""

    def changed(self, root: Path) -> set[str] | None:
        """What looks different now; None if something may be there or gone that says which stages there are."""
        found = {
            path
            for seen in (self.trees, self.objects, self.installed)
            for path, look in seen.items()
            if stamp(root / path) != look
        }
        gone_through = {*self.folders, *self.passed_over}
        for path, seen in self.folders.items():
            if _entries(root / path) != seen and _may_hold_stages(root, path, gone_through, self.trees):
                return None
        return found

    def sources(self) -> Evidence:
        """The part that was taken before the stages were known."""
        found = self.part(_SOURCES)
        found.installed = dict(self.installed)
        return found

    def part(self, paths: Iterable[str]) -> Evidence:
        """What was seen of these files and folders."""
        wanted = set(paths)
        return Evidence(
            trees={path: seen for path, seen in self.trees.items() if path in wanted},
            objects={path: seen for path, seen in self.objects.items() if path in wanted},
        )

    def with_seen(self, seen: Evidence) -> Evidence:
        """This and what was seen before."""
        return Evidence(
            {**seen.trees, **self.trees},
            objects={**seen.objects, **self.objects},
            installed={**seen.installed, **self.installed},
        )

    def add(
        self,
        root: Path,
        trees: Iterable[str],
        folders: Iterable[str] = (),
        objects: Iterable[str] = (),
        passed_over: Iterable[str] = (),
    ) -> None:
        """Note how these look now; what was noted before stays as it was seen then."""
        for path in trees:
            if path not in self.trees:
                self.trees[path] = stamp(root / path)
        self.folders |= {path: _entries(root / path) for path in folders}
        self.passed_over = sorted({*self.passed_over, *passed_over})
        for path in objects:
            if path not in self.objects:
                self.objects[path] = stamp(root / path)


def sources(root: Path, installed: Iterable[Path] = ()) -> Evidence:
    """How everything looks that is read before the stages are known; `installed`: the packages of plugins."""
    evidence = Evidence(installed={str(package): stamp(package) for package in installed})
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


def _may_hold_stages(root: Path, path: str, gone_through: Container[str], known: Container[str]) -> bool:
    """Whether something in the folder may describe stages, or hide some, that nobody knew of."""
    try:
        with os.scandir(root / path) as entries:
            for entry in entries:
                place = entry.name if path == "." else f"{path}/{entry.name}"
                if entry.is_dir():
                    new = place not in gone_through and place not in known
                    if new and any(_is_decisive(name) for _, _, names in os.walk(entry.path) for name in names):
                        return True
                elif _is_decisive(entry.name) and place not in known:
                    return True
    except OSError:
        return True
    return False


def _is_decisive(name: str) -> bool:
    return name in ("dvc.yaml", ".dvcignore") or name.endswith(".dvc")


@dataclass(frozen=True)
class Known:
    """A step as it was when it was looked at last."""

    name: str
    title: str
    commands: tuple[str, ...]
    folder: str
    reads: tuple[str, ...]
    after: tuple[str, ...]
    by_shell: bool
    """whether the user's shell runs it, rather than a process of Recast's"""
    up_to_date: bool
    files: Mapping[str, str]
    """what it reads and what lists that, params files included: path -> its name in the entry of dvc.lock"""
    outs: tuple[str, ...]
    objects: tuple[str, ...]
    """files of the cache that hold its outputs"""
    described: tuple[str, ...]
    """its dvc.yaml and dvc.lock"""
    entry: Mapping[str, Any] | None
    """what the run-cache finds its result by; None if only DVC can tell that"""

    @property
    def paths(self) -> set[str]:
        """All that decides whether it is up to date."""
        return {*self.files, *self.outs, *self.objects, *self.described}


@dataclass(frozen=True)
class Memory:
    """What was found by a run that came to its end, and what is shown of it."""

    stages: tuple[str, ...]
    """titles, in the order in which they are told"""
    tables: tuple[Any, ...]
    warning: str = ""
    """what was said of recipes that were left out; it holds as long as nothing has changed"""
    steps: tuple[Known, ...] = ()
    """in an order that runs"""
    runs: str = ""
    """the folder of DVC's run-cache"""
    locks: str = ""
    """the folder of DVC's locks; empty if DVC alone can take them, or tell what the stages are"""
    is_complete: bool = True
    """whether every step was up to date"""


@dataclass(frozen=True)
class Recalled:
    """What is remembered for a request, and what looks different since."""

    memory: Memory
    evidence: Evidence
    changed: frozenset[str]

    @property
    def is_current(self) -> bool:
        """Whether everything that was asked for is up to date."""
        return self.memory.is_complete and not self.changed


def _place(root: Path, request: object) -> Path:
    # the place of the repository is part of it: a copied folder has to be looked at anew
    key = json.dumps([_FORMAT, str(root), request], sort_keys=True)
    return root / FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def recall(root: Path, request: object) -> Recalled | None:
    """What is known for this request; None if that is nothing, or void, since there may be other stages now."""
    try:
        said = json.loads(_place(root, request).read_text(encoding="utf-8"))
        evidence = Evidence(**said.pop("evidence"))
        steps = tuple(_known(step) for step in said.pop("steps"))
        stages, tables = tuple(said.pop("stages")), tuple(said.pop("tables"))
        memory = Memory(stages, tables, steps=steps, **said)
        changed = evidence.changed(root)
        return None if changed is None else Recalled(memory, evidence, frozenset(changed))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _known(said: Mapping[str, Any]) -> Known:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    return Known(**values)


def remember(root: Path, request: object, evidence: Evidence, memory: Memory) -> None:
    """Keep it for the next time. `evidence` must be from before the stages were found up to date."""
    place = _place(root, request)
    place.parent.mkdir(parents=True, exist_ok=True)
    with replaced(place) as fresh:
        fresh.write_text(json.dumps({"evidence": asdict(evidence), **asdict(memory)}), encoding="utf-8")
