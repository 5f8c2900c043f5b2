"""Who uses the environments that a user's repositories share: processes just now, and repositories at all.

A process that uses one holds a shared lock on a file in it until it ends. A repository leaves a small file,
`repositories/…json`, that says which environments it has used and when last. `recast env prune` deletes what neither
knows of.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from recast.pipeline.core.layout import RECIPES, user_folder
from recast.pipeline.processes.environment import MARKER, Environment

# where DVC lays the copies of a repository in which experiments run
_COPIES = f"{os.sep}.dvc{os.sep}tmp{os.sep}"
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)

_held: dict[Path, int] = {}
"""environments -> the open file by which this process holds each"""
_holding = threading.Lock()


def hold(environment: Environment) -> bool:
    """Keep it from being deleted until this process, or the program it becomes, ends; False if it is not built."""
    marker, directory = environment.directory / MARKER, environment.directory
    with _holding:
        while True:
            try:
                there = marker.stat()
                held = _held.get(directory)
                if held is not None and os.path.samestat(os.fstat(held), there):
                    return environment.is_built
                opened = os.open(marker, os.O_RDONLY)
            except (FileNotFoundError, NotADirectoryError):
                return False
            fcntl.flock(opened, fcntl.LOCK_SH)
            os.set_inheritable(opened, True)  # a verb's process takes the place of this one
            if held is not None:
                os.close(held)
            # once more: it may have been deleted while the lock was waited for
            _held[directory] = opened


def release(environment: Environment) -> None:
    """Let go of it: it is to be built anew."""
    with _holding:
        if (held := _held.pop(environment.directory, None)) is not None:
            os.close(held)


def release_all() -> None:
    """Let go of all that this process holds."""
    with _holding:
        while _held:
            os.close(_held.popitem()[1])


def is_in_use(directory: Path) -> bool:
    """Whether a process holds it."""
    try:
        opened = os.open(directory / MARKER, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(opened)
    return False


@dataclass
class Record:
    """What is recorded of one repository."""

    root: Path
    environments: dict[str, str] = field(default_factory=dict)
    """names of folders -> the day of the last use"""

    @property
    def is_living(self) -> bool:
        """Whether the repository is still there."""
        return (self.root / RECIPES).is_dir()


def note(root: Path, environment: Environment) -> None:
    """Record that the repository uses it."""
    record, today = recorded(root), date.today().isoformat()
    if record.environments.get(environment.directory.name) == today:
        return
    record.environments[environment.directory.name] = today
    try:
        write(record)
    except OSError as error:
        # a place that is shared read-only is pruned by whoever can write it
        if error.errno not in _READ_ONLY:
            raise


def recorded(root: Path) -> Record:
    """What is recorded of this repository."""
    root = _lasting(root)
    return _read(_file(root)) or Record(root)


def records() -> Iterator[tuple[Path, Record]]:
    """Every repository's record, with its file."""
    for path in sorted((user_folder() / "repositories").glob("*.json")):
        if record := _read(path):
            yield path, record


def write(record: Record) -> None:
    """Record it, in the place of what was recorded of that repository."""
    path = _file(record.root)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    fresh.write_text(json.dumps({"root": str(record.root), "environments": record.environments}, indent=2) + "\n")
    fresh.replace(path)


def note_clone(root: Path) -> None:
    """Link to a clone that has Recast's own environment, where the launchers of others look."""
    link = user_folder() / "clones" / _name(root)
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(root)


def forget_clones() -> None:
    """Take away the links to clones that are gone."""
    for link in (user_folder() / "clones").glob("*"):
        if not link.exists():
            link.unlink()


def _lasting(root: Path) -> Path:
    """The repository that a copy for an experiment was made of; others are their own."""
    whole, copies, _ = str(root.resolve()).partition(_COPIES)
    return Path(whole) if copies else root.resolve()


def _file(root: Path) -> Path:
    return user_folder() / "repositories" / f"{_name(root)}.json"


def _name(root: Path) -> str:
    return f"{root.name}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}"


def _read(path: Path) -> Record | None:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Record(Path(said["root"]), {str(name): str(day) for name, day in said["environments"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # somebody else's file, or one of another version: it says nothing to us
