"""DVC's cache, looked at before it is believed: what does not have the content its name stands for is set aside.

DVC takes a write-protected object for sound and never reads it again, and takes a file for unchanged whose
modification time, size and inode are. Here an object is hashed once, and again when its inode, size, modification or
change time is another; what is about to be used is hashed in any case. The change time cannot be set back, so that a
file that was written to with its modification time kept is seen too. A run-cache entry's name is the hash of what it
says.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA
from dvc.stage.cache import StageCache, _get_cache_hash, _get_stage_hash
from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml
from dvc_data.fsutils import _localfs_info
from dvc_data.hashfile.db.local import LocalHashFileDB
from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.obj import HashFile
from dvc_data.hashfile.state import State, _checksum
from voluptuous import Invalid

from recast.pipeline.core.errors import RecastError

ASIDE = ".recast/damaged"
KNOWN = ".recast/checked_objects.json"

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Damage:
    """Something in the cache that is not what its name says."""

    name: str
    """the object's hash (`.dir` at its end if it is a folder's list of files), or `runs/…` for a run-cache entry"""
    aside: str = ""
    """where it lies now, as users write it; empty if it was left where it is"""


class Checks:
    """What has been found out of a repository's cache. Not thread-safe, as DVC is not."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.sets_aside = False
        """whether damaged things are moved out of the cache, or only taken for absent"""
        self.found: list[Damage] = []
        """what was found damaged and nobody has taken note of yet"""
        self._afresh = False
        self._known = _read(root / KNOWN)
        self._hashed: dict[str, Stamp] = {}
        """objects that were hashed by this process and were sound"""
        self._damaged: dict[str, Stamp] = {}

    def attach(self, repo: Any) -> None:
        """Have every look that DVC takes at this repository's cache and files be one of these checks."""
        for objects in (repo.cache.local, repo.cache.legacy):
            if type(objects) is LocalHashFileDB:
                objects.__class__ = _CheckedObjects
                vars(objects)["checks"] = self
        state, runs = repo.state, repo.stage_cache
        if type(state) is State:
            state.__class__ = _CheckedState
        if type(runs) is StageCache:
            runs.__class__ = _CheckedRunCache
            vars(runs)["checks"] = self

    @contextlib.contextmanager
    def afresh(self) -> Iterator[None]:
        """Within this block only what this process has hashed itself counts as looked at."""
        before, self._afresh = self._afresh, True
        try:
            yield
        finally:
            self._afresh = before

    def is_sound(self, path: str, oid: str, hash_name: str) -> bool:
        """Whether the object's content is what its name says. Raises FileNotFoundError if it is not there."""
        stamp = object_stamp(path)
        if self._hashed.get(path) == stamp or (not self._afresh and self._known.get(path) == stamp):
            return True
        if self._damaged.get(path) == stamp:
            return False
        if _hash(path, hash_name) == oid.partition(".")[0] and object_stamp(path) == stamp:
            self._hashed[path] = stamp
            return True
        if self.sets_aside:
            self.found.append(Damage(oid, self._set_aside(path, oid)))
        else:
            self._damaged[path] = stamp
            self.found.append(Damage(oid))
        return False

    def protected(self, path: str) -> None:
        """Take note that a sound object's mode was set just now, which changes its change time."""
        if path in self._hashed:
            self._hashed[path] = object_stamp(path)

    def refuse_entry(self, path: str, name: str) -> None:
        """A run-cache entry does not say what its name stands for."""
        if self.sets_aside:
            self.found.append(Damage(f"runs/{name}", self._set_aside(path, name)))
            with contextlib.suppress(OSError):
                Path(path).parent.rmdir()  # or the remote's entry would not be fetched
        elif path not in self._damaged:
            self._damaged[path] = object_stamp(path)
            self.found.append(Damage(f"runs/{name}"))

    def _set_aside(self, path: str, name: str) -> str:
        folder = self._root / ASIDE
        place, number = folder / name, 1
        while place.exists():
            number += 1
            place = folder / f"{name}.{number}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(path, place)  # the cache may lie on another disk
        except OSError as error:
            raise RecastError(
                f"{path} in DVC's cache is damaged, and cannot be moved out of it: {error.strerror}",
                "have its owner move it away, then run the command again",
            ) from error
        return place.relative_to(self._root).as_posix()

    def take(self) -> list[Damage]:
        """What was found since it was asked last."""
        found, self.found = self.found, []
        return found

    def close(self) -> None:
        """Keep what was found sound for the next time; losing it costs a look."""
        kept = {path: stamp for path, stamp in self._known.items() if Path(path).exists()}
        fresh = {**kept, **self._hashed}
        place = self._root / KNOWN
        # a repository that is only being looked at stays as it is where it has no such folder
        if fresh != self._known and place.parent.is_dir():
            new = place.with_name(f"{place.name}.{os.getpid()}.new")
            with contextlib.suppress(OSError):
                new.write_text(json.dumps(fresh), encoding="utf-8")
                new.replace(place)


def _read(place: Path) -> dict[str, Stamp]:
    try:
        said = json.loads(place.read_text(encoding="utf-8"))
        return {path: (int(a), int(b), int(c), int(d)) for path, (a, b, c, d) in said.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def object_stamp(path: str) -> Stamp:
    """What changes whenever the file's content does, short of an error of the disk or its file system."""
    found = Path(path).stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _hash(path: str, hash_name: str) -> str:
    try:
        return str(file_md5(path, name=hash_name))
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EISDIR):
            raise
        return ""  # what the disk cannot read is as good as damaged


class _CheckedObjects(LocalHashFileDB):
    """DVC's cache of objects, in which what is damaged is not there."""

    checks: Checks

    def check(self, oid: str, check_hash: bool = True, _info: dict[str, Any] | None = None) -> Meta:
        path = self._path(oid)
        if not self.checks.is_sound(path, oid, self.hash_name):
            raise FileNotFoundError(errno.ENOENT, "damaged in the cache", path)
        self.protect(path)
        return Meta.from_info(_info or _localfs_info(path))

    def protect(self, path: str) -> None:
        # DVC sets the mode again and again, and each time the object would have to be read once more
        if stat.S_IMODE(Path(path).stat().st_mode) != self.CACHE_MODE:
            super().protect(path)  # type: ignore[no-untyped-call]
            self.checks.protected(path)

    def _path(self, oid: str) -> str:
        return str(self.oid_to_path(oid))  # type: ignore[no-untyped-call]

    def get(self, oid: str) -> HashFile:
        # a folder's list is loaded before it is checked, and a damaged one may name any file
        if oid.endswith(".dir"):
            with contextlib.suppress(FileNotFoundError):
                if not self.checks.is_sound(self._path(oid), oid, self.hash_name):
                    return HashFile(f"{self._path(oid)}.damaged", self.fs, HashInfo(self.hash_name, oid))
        return super().get(oid)


class _CheckedState(State):
    """DVC's memory of files' hashes, which knows their change times as well.

    It is the same database. DVC passes over what it does not know in an entry; an entry of DVC's own, which lacks the
    change time, is as good as none, so that its file is hashed once more.
    """

    def save(self, path: str, fs: Any, hash_info: Any, info: dict[str, Any] | None = None) -> None:
        self.save_many([(path, hash_info, info)], fs)

    def save_many(self, items: Any, fs: Any) -> None:
        if fs.protocol != "local":
            return
        entries = []
        for path, hash_info, known in items:
            try:
                info = known or fs.info(path)
            except FileNotFoundError:
                continue
            entry = {
                "version": self.HASH_VERSION,
                "checksum": _checksum(info),  # type: ignore[no-untyped-call]
                "size": info["size"],
                "hash_info": hash_info.to_dict(),
                "changed": info["created"],  # as fsspec calls st_ctime
            }
            entries.append((path, json.dumps(entry)))
        self.hashes.set_many(entries)

    def _get(self, path: str, raw: str, info: dict[str, Any]) -> Any:
        try:
            changed = json.loads(raw).get("changed")
        except ValueError:
            return None
        return super()._get(path, raw, info) if changed == info["created"] else None


class _CheckedRunCache(StageCache):  # type: ignore[misc]
    """DVC's run-cache, in which an entry is believed if key and content have the hashes that name it."""

    checks: Checks

    def _load(self, stage: Any) -> Any:
        key = _get_stage_hash(stage)
        folder = Path(self._get_cache_dir(key))
        # a run that is killed while it saves a result may leave an empty folder, or a file with a name of its own
        entries = [path for path in folder.glob("*") if len(path.name) == len(key)]
        for path in sorted(entries, key=lambda path: path.stat().st_mtime, reverse=True):
            if entry := self._load_cache(key, path.name):
                return entry
        return None

    def _load_cache(self, key: str, value: str) -> Any:
        path = self._get_cache_path(key, value)
        try:
            entry = COMPILED_LOCK_FILE_STAGE_SCHEMA(parse_yaml(Path(path).read_bytes().decode(), path))
            sound = _get_cache_hash(entry) == value and _get_cache_hash(copy.deepcopy(entry), key=True) == key
        except FileNotFoundError:
            return None
        except (YAMLFileCorruptedError, Invalid, ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
            sound = False  # a flipped bit may make YAML of any kind
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EISDIR):
                raise
            sound = False
        if sound:
            return entry
        self.checks.refuse_entry(path, value)
        return None
