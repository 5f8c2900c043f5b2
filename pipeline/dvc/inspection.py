"""What dvc.lock and the caches say of a step beside what is there now: what `recast explain` asks. Changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc.dependency.base import Dependency
from dvc.dependency.param import MissingParamsError, ParamsDependency
from dvc.output import Output
from dvc.stage.cache import _can_hash
from dvc.stage.serialize import to_single_stage_lockfile
from dvc_data.hashfile.build import build
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectFormatError

from recast.pipeline.dvc.damage import Damage
from recast.pipeline.dvc.session import opened, parsed_once, readable_errors, recorded
from recast.pipeline.dvc.step import Step


@dataclass(frozen=True)
class Content:
    """What is, or was, at a path: equal if it is the same, byte for byte."""

    hash: str
    files: Mapping[str, str] | None = field(default=None, compare=False)
    """of a folder, every file's hash by its path inside; None for a file, or where no list was kept"""
    meta: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Compared:
    """A dependency or output: what dvc.lock records of it and what is there; None for nothing."""

    path: str
    then: Content | None
    now: Content | None
    in_cache: bool = True
    damaged: tuple[str, ...] = ()
    """what of it is damaged in DVC's cache"""


@dataclass(frozen=True)
class Sight:
    """All that decides whether DVC takes a step for up to date."""

    recorded: bool
    """whether dvc.lock has an entry for it"""
    runs_always: bool
    frozen: bool
    command_then: str
    command: str
    params: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any] | None]]
    """file -> its tracked dotted keys as recorded and as they are; None where there is no such file"""
    dropped: Mapping[str, Mapping[str, Any]]
    """file -> keys that are recorded but no longer tracked; DVC takes no notice of that"""
    dropped_reads: tuple[str, ...]
    """dependencies that are recorded but are none any more; DVC takes no notice of that either"""
    reads: tuple[Compared, ...]
    writes: tuple[Compared, ...]


@dataclass(frozen=True)
class CachedResult:
    """What a cache knows of a step's result: each output by path, and whether the files are still there."""

    outs: Mapping[str, Content]
    complete: bool
    damaged: tuple[str, ...] = ()


class Inspection:
    """Looks at steps of a repository; use it while the repository is locked."""

    def __init__(self, repo: Any, damage: Damage, shown: Callable[[str], str]) -> None:
        """`shown`: a path as users write it."""
        self._repo = repo
        self._damage = damage
        self._shown = shown

    def sight(self, step: Step, hashed: dict[str, Content | None]) -> Sight:
        """What dvc.lock records of the step beside what is there now; `hashed` remembers paths from call to call."""
        stage = step.stage
        with readable_errors(), parsed_once():
            files = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
            known = {} if stage.is_data_source else recorded(stage)
            paths = {dep.def_path for dep in files}
            keys = {dep.def_path: dep.params for dep in stage.params}
            dropped: dict[str, Mapping[str, Any]] = {}
            for file, values in (known.get("params") or {}).items():
                # no keys: the whole file is tracked
                if file not in keys or keys[file]:
                    dropped[file] = {key: value for key, value in values.items() if key not in keys.get(file, ())}
            return Sight(
                recorded=bool(known) or stage.is_data_source,
                runs_always=bool(stage.is_callback or stage.always_changed),
                frozen=stage.frozen,
                command_then=_shown_command(known.get("cmd", "")),
                command=_shown_command(stage.cmd or ""),
                params={
                    self._shown(dep.fs_path): (dep.hash_info.value or {}, dep.read_params() if dep.exists else None)
                    for dep in stage.params
                },
                dropped={file: values for file, values in dropped.items() if values},
                dropped_reads=tuple(dep["path"] for dep in known.get("deps") or () if dep["path"] not in paths),
                reads=tuple(self._compared(dep, hashed) for dep in files),
                writes=tuple(self._compared(out, hashed) for out in stage.outs),
            )

    def _compared(self, item: Any, hashed: dict[str, Content | None]) -> Compared:
        path = self._shown(item.fs_path)
        if type(item) not in (Output, Dependency):
            # a dependency on another repository or a data set: only DVC can compare it
            return Compared(path, Content("recorded"), Content("changed" if item.status() else "recorded"))
        if path not in hashed:
            hashed[path] = self._content(item)
        then = Content(item.hash_info.value, None, item.meta) if item.hash_info else None
        cached = item.use_cache and item.hash_info
        damaged = tuple(self._damage.of(item)) if cached else ()
        return Compared(path, then, hashed[path], not cached or not item.changed_cache(), damaged)

    def _content(self, item: Any) -> Content | None:
        if not item.exists:
            return None
        odb = item.local_cache
        try:
            _, meta, obj = item._build(odb, item.fs_path, item.fs, item.hash_name, ignore=item.dvcignore, dry_run=True)
        except FileNotFoundError:
            return None  # a link to what the cache has lost
        return Content(obj.hash_info.value, _listed(obj), meta)

    def recorded_files(self, content: Content) -> Mapping[str, str] | None:
        """What a recorded folder held, every file's hash by its path inside; None if no list was kept."""
        if not content.hash.endswith(".dir"):
            return None
        try:
            return _listed(Tree.load(self._repo.cache.local, HashInfo("md5", content.hash)))
        except (FileNotFoundError, ObjectFormatError):
            return None

    def recorded_content(self, content: Content, path: str) -> bytes | None:
        """A file in a recorded folder, by its path inside, from the cache; None if that lacks it."""
        hash = (self.recorded_files(content) or {}).get(path)
        try:
            return Path(self._repo.cache.local.oid_to_path(hash)).read_bytes() if hash else None
        except OSError:
            return None

    def cached_result(self, step: Step, reads: Mapping[str, Content], *, as_recorded: bool) -> CachedResult | None:
        """What `restore` would find if the step read these contents; None where the run-cache knows nothing.

        `as_recorded`: whether command, params and contents are those of dvc.lock, whose result is then taken.
        """
        stage = copy.copy(step.stage)
        cache = self._repo.stage_cache
        with readable_errors(), parsed_once():
            try:
                stage.deps = [_holding(dep, reads.get(self._shown(dep.fs_path))) for dep in stage.deps]
            except MissingParamsError:
                return None
            if not _can_hash(stage):
                return None
            known = as_recorded and all(out.hash_info for out in stage.outs)
            entry = to_single_stage_lockfile(stage) if known else cache._load(stage)
            if not entry:
                return None
            found = cache._create_stage(entry, wdir=stage.wdir)
            outs = {self._shown(out.fs_path): Content(out.hash_info.value, None, out.meta) for out in found.outs}
            damaged = tuple(name for out in found.outs for name in self._damage.of(out))
            return CachedResult(outs, found.outs_cached(), damaged)


def _shown_command(command: str | list[str]) -> str:
    return "\n".join(command) if isinstance(command, list) else command


def _listed(obj: Any) -> Mapping[str, str] | None:
    return {"/".join(key): hashed.value for key, _, hashed in obj} if isinstance(obj, Tree) else None


def _holding(dep: Any, content: Content | None) -> Any:
    """A copy of a dependency as if it had been saved with that content; its params as they are now."""
    held = copy.copy(dep)
    if isinstance(dep, ParamsDependency):
        held.hash_info = dep.get_hash()
    elif content:
        held.hash_info, held.meta, held.files = HashInfo(dep.hash_name, content.hash), content.meta or Meta(), None
    found = held.hash_info
    held.get_hash = lambda: found  # not what is there, which may be different still
    return held


def believed_hash(root: Path, path: str) -> str | None:
    """What DVC takes a file or folder for, by what it remembers of modification times; None if it is not there."""
    with opened(root) as repo:
        try:
            odb = repo.cache.local
            _, _, obj = build(odb, str(root / path), repo.fs, "md5", ignore=repo.dvcignore, dry_run=True)
        except FileNotFoundError:
            return None
        return str(obj.hash_info.value)
