"""Every use Recast makes of DVC's internals: graph, status, run-cache, outputs, locks.

DVC has no public calls to run one stage, so this module takes apart what `dvc repro` does
(`dvc.repo.reproduce`, `Stage.reproduce`, `Stage.run`) into steps that can be interleaved; hashing,
run-cache, checkout and the entries of dvc.lock stay DVC's own code. DVC is pinned, and
tests/pipeline/test_dvc_repository.py names the call that moved when it moves.

None of this is thread-safe, as DVC is not: one thread makes every call.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import dvc.dependency.param
import dvc.progress
import dvc.rwlock
import dvc_data.callbacks
import psutil
from dvc.config import NoRemoteError
from dvc.dependency.base import Dependency
from dvc.dependency.param import MissingParamsError, ParamsDependency
from dvc.exceptions import DvcException
from dvc.ignore import DvcIgnoreFilter
from dvc.lock import LockError
from dvc.output import Output
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.stage.cache import RunCacheNotFoundError, _can_hash, _get_stage_hash
from dvc.stage.run import _make_cmd as shell_command
from dvc.stage.run import get_executable, prepare_kwargs
from dvc.stage.serialize import to_lockfile, to_single_stage_lockfile
from dvc_data.hashfile.build import build
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.state import StateNoop
from dvc_data.hashfile.transfer import transfer
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectFormatError

from pipeline.checked_cache import Checks, Damage
from pipeline.errors import RecastError
from pipeline.layout import RECIPES
from pipeline.lockfile import read_lock, write_lock
from pipeline.up_to_date import Evidence

# the least time between two writings of dvc.lock while a run goes on, and how much of the run they may take
_LOCK_GAP_SECONDS = 2.0
_LOCK_SHARE = 0.05


@dataclass(frozen=True)
class Step:
    """One DVC stage that a run may have to do."""

    name: str
    """as DVC addresses it: its name in dvc.yaml, or `folder/dvc.yaml:name`"""
    commands: tuple[str, ...]
    """what the shell runs, one after the other; empty for data sources, imports and frozen stages, which DVC does"""
    reads: tuple[str, ...]
    """names of the steps whose outputs it depends on"""
    stage: Any = field(compare=False, repr=False)
    after: tuple[str, ...] = ()
    """names of steps that must have ended, well or not: a frozen stage's inputs are hashed while nobody writes them"""

    @property
    def makes_lock_entry_only(self) -> bool:
        """Whether the run-cache cannot bring its result back, so that dvc.lock must know it at once."""
        outs = self.stage.outs
        uncached = any(not out.use_cache for out in outs if not (out.is_metric or out.is_plot))
        remote = any(dep.protocol != "local" for dep in self.stage.deps)
        return uncached or not outs or not self.stage.deps or remote or any(out.persist for out in outs)


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
class Result:
    """What a cache knows of a step's result: each output by path, and whether the files are still there."""

    outs: Mapping[str, Content]
    complete: bool
    damaged: tuple[str, ...] = ()


class Repository:
    """The DVC repository a run works on. Raises RecastError where DVC refuses it."""

    def __init__(self, root: Path, say: Callable[[str], None], waits: Callable[[], None] = lambda: None) -> None:
        """`say` tells the user whom is waited for; `waits` is called again and again then, and may raise to give up."""
        self.root = root
        self._say = say
        self._waits = waits
        self._pending: dict[str, Any] = {}
        self._last_written = time.monotonic()
        self._write_seconds = 0.0
        self._claim: contextlib.ExitStack | None = None
        self._blocker = ""
        self._narrowed = time.monotonic()
        _quieten(say)
        with _readable_errors():
            self._repo = _PlainFilesRepo(str(root))
        self._checks = Checks(root)
        self._checks.attach(self._repo)
        # what DVC's own calls would claim, `claim` has claimed before
        dvc.rwlock.rwlock = lambda *_: contextlib.nullcontext()
        self._repo.lock._friendly = False  # who is waited for is said by `locked`

    # -- locks

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock every DVC command holds while it reads or writes; waits for whoever has it."""
        self._lock()
        # nested calls of DVC's commands then take the lock for theirs
        self._repo._lock_depth += 1
        try:
            yield
        finally:
            self._repo._lock_depth -= 1
            self._repo.lock.unlock()

    def _lock(self) -> None:
        told = False
        while True:
            try:
                self._repo.lock.lock()
                return
            except LockError:
                if not told:
                    self._say(f"waiting for {self._lock_holder()}")
                    told = True
                self._waits()

    def _lock_holder(self) -> str:
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            pid = int(Path(self._repo.lock.lockfile).read_text(encoding="utf-8").split()[0])
            return _named(pid, " ".join(psutil.Process(pid).cmdline()))
        return "another DVC command"

    def claim(self, steps: Sequence[Step]) -> bool:
        """Tell other DVC processes that this one reads and writes these steps' files, until `release`.

        One claim for all of them: DVC would make several for each, and read and write its list every time. Call it
        while `locked`. False, with nothing claimed, if it had to wait for a `dvc repro` that has one of the files:
        that may have changed what the steps are; ask for them anew.
        """
        reads = {dep.fs_path for step in steps for dep in step.stage.deps if dep.protocol == "local"}
        writes = {out.fs_path for step in steps for out in step.stage.outs}
        by_hardlink = self._repo.config["core"].get("hardlink_lock", False)
        key, files = " ".join(sys.argv), _AtomicFiles(self._repo.fs)
        waited = False
        while True:
            held = contextlib.ExitStack()
            try:
                held.enter_context(_rwlock(self._repo.tmp_dir, files, key, [*reads], [*writes], by_hardlink))
                break
            except LockError as error:
                # a path and its blockers, one a line: `  (PID 12): dvc repro`
                found = re.search(r"\(PID (\d+)\): (.*)", str(error))
                blocker = _named(int(found[1]), found[2]) if found else "another DVC command"
            if blocker != self._blocker:
                self._say(f"waiting for {blocker}, which uses the same files")
                self._blocker = blocker
            waited = True
            self._repo.lock.unlock()  # or the one we wait for could never finish
            try:
                time.sleep(0.5)
                self._waits()
            finally:
                self._lock()
        if waited:
            held.close()
            return False
        self._claim = held
        return True

    def narrow(self, steps: Callable[[], Sequence[Step]]) -> None:
        """Now and then, claim no more than what these steps need any longer; call it while `locked`."""
        if self._claim and time.monotonic() - self._narrowed > max(
            _LOCK_GAP_SECONDS, self._write_seconds / _LOCK_SHARE
        ):
            # nobody can claim anything in between: for that they need the lock
            self.release()
            self.claim(steps())
            self._narrowed = time.monotonic()

    def release(self) -> None:
        """Give the claim back; call it while `locked`."""
        if self._claim:
            self._claim.close()
            self._claim = None

    # -- what there is to do

    def steps(self, targets: Iterable[str]) -> list[Step]:
        """Every stage that the targets need, themselves included, in an order that runs."""
        self._repo._reset()  # or it would not look at dvc.yaml and dvc.lock again
        with _readable_errors(), _parsed_once():
            stages = collect_stages(self._repo, targets)
            whole = self._repo.index.graph
            graph = get_active_graph(whole)
            planned = plan_repro(graph, stages)
            after = _after(whole, planned)
            found = [
                Step(
                    stage.addressing,
                    _commands(stage),
                    tuple(sorted(read.addressing for read in graph.successors(stage))),
                    stage,
                    tuple(sorted(after[stage.addressing])),
                )
                for stage in planned
            ]
        return found

    def is_changed(self, step: Step) -> bool:
        """Whether DVC would run the stage or restore it, given that what it reads is in its final state.

        What is damaged in the cache counts as missing, if it could not be put right.
        """
        with _readable_errors(), _parsed_once():
            changed = bool(step.stage.changed())
            if self._checks.found and self._put_right(step.stage):
                changed = bool(step.stage.changed())
            self._checks.take()
        return changed

    def stale(self, steps: Sequence[Step]) -> dict[str, bool]:
        """For each step whether it, or one that it reads, directly or not, has changed.

        Claims nothing: a step that another process runs just now is stale.
        """
        found: dict[str, bool] = {}
        for step in steps:
            found[step.name] = any(found[read] for read in step.reads) or self.is_changed(step)
        return found

    def add_evidence(self, evidence: Evidence, steps: Sequence[Step]) -> None:
        """Note how everything looks that decides whether these steps are up to date."""
        trees: set[str] = set()
        objects: set[str] = set()
        for step in steps:
            trees.update(self._shown(dep.fs_path) for dep in step.stage.deps if dep.protocol == "local")
            trees.update({self._shown(step.stage.path), self._shown(str(Path(step.stage.path).with_suffix(".lock")))})
            for out in step.stage.outs:
                trees.add(self._shown(out.fs_path))
                if out.use_cache and out.hash_info:
                    objects.update(self._shown(path) for path in _cached_files(out))
        outs = {out.fs_path for step in steps for out in step.stage.outs}
        folders = []
        for folder, below, _ in self._repo.dvcignore.walk(self._repo.fs, str(self.root)):
            below[:] = [name for name in below if str(Path(folder) / name) not in outs]
            folders.append(self._shown(folder))
        evidence.add(self.root, sorted(trees), folders, sorted(objects))

    def _shown(self, path: str) -> str:
        place = Path(path)
        return str(place.relative_to(self.root)) if place.is_relative_to(self.root) else path

    # -- what `recast explain` asks; changes nothing

    def sight(self, step: Step, hashed: dict[str, Content | None]) -> Sight:
        """What dvc.lock records of the step beside what is there now; `hashed` remembers paths from call to call."""
        stage = step.stage
        with _readable_errors(), _parsed_once():
            files = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
            known: Mapping[str, Any] = {}
            if not stage.is_data_source:
                known = (stage.dvcfile.lockfile_contents.get("stages") or {}).get(stage.name) or {}
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
        damaged = tuple(self._damaged(item)) if cached else ()
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

    def cached_result(self, step: Step, reads: Mapping[str, Content], *, as_recorded: bool) -> Result | None:
        """What `restore` would find if the step read these contents; None where the run-cache knows nothing.

        `as_recorded`: whether command, params and contents are those of dvc.lock, whose result is then taken.
        """
        stage = copy.copy(step.stage)
        cache = self._repo.stage_cache
        with _readable_errors(), _parsed_once():
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
            damaged = tuple(name for out in found.outs for name in self._damaged(out))
            return Result(outs, found.outs_cached(), damaged)

    # -- doing it, in DVC's order

    def clear(self, step: Step) -> None:
        """Remove the outputs, as `dvc repro` does before it runs or restores a stage."""
        with _readable_errors():
            step.stage.remove_outs(ignore_remove=False, force=False)

    def require_remote(self) -> None:
        """RecastError unless there is a remote to pull from."""
        with _readable_errors():
            try:
                self._repo.cloud.get_remote(None, "run --pull")
            except NoRemoteError:
                raise RecastError(
                    "there is no DVC remote to pull from",
                    "add one ('dvc remote add --default NAME WHERE'), or drop --pull",
                ) from None

    def restore(self, step: Step, *, pull: bool = False) -> bool:
        """Check the result out if the cache, or with `pull` the remote, has one for what the stage reads now."""
        stage = step.stage
        with _readable_errors(), _parsed_once():
            # what comes from it is used: it is hashed in any case
            with self._checks.afresh():
                restored = self._restored(stage, pull)
                if found := self._checks.take():
                    self._tell(stage, found)
                    if not restored and not pull and self._has_remote():
                        self._say("looking for an intact copy in the remote")
                        restored = self._restored(stage, pull=True)
                        self._tell(stage, self._checks.take(), "the remote")
            if restored:
                stage.save_deps()
        return restored

    def _restored(self, stage: Any, pull: bool) -> bool:
        try:
            if pull:
                self._fetch_run_cache(stage)
            self._repo.stage_cache.restore(stage, pull=pull)
        except RunCacheNotFoundError:
            if pull:
                self._tell_unfetched(stage)
            return False
        return True

    def _tell_unfetched(self, stage: Any) -> None:
        """Say which lists of folders' files the remote has and DVC did not take: it says nothing of damaged ones."""
        cache = self._repo.stage_cache
        entry = cache._load(stage) if _can_hash(stage) else None
        for out in cache._create_stage(entry, wdir=stage.wdir).outs if entry else ():
            oid = out.hash_info.value
            there = self._repo.cloud.get_remote_odb(None, "run --pull")
            if out.hash_info.isdir and not out.cache.exists(oid) and there.exists(oid):
                self._say(f"the list of files in {self._shown(out.fs_path)} is damaged in the remote")

    def save_deps(self, step: Step) -> None:
        """Note the hashes of what the stage is about to read. Raises RecastError if something is missing."""
        with _readable_errors(), _parsed_once():
            step.stage.save_deps()

    def finish(self, step: Step) -> None:
        """Hash the outputs, put them into the cache and the run-cache; dvc.lock follows with `write_locks`.

        What it depends on is not hashed again, as DVC would: a file edited meanwhile was not what the stage read.
        """
        stage = step.stage
        with _readable_errors(), self._repo.scm_context(quiet=True), _parsed_once():
            stage.save_outs()
            stage.md5 = stage.compute_md5()
            if not any(not out.use_cache for out in stage.outs if not (out.is_metric or out.is_plot)):
                self._repo.stage_cache.save(stage)
            stage.commit()
            self._tell(stage, self._checks.take())  # what was in the place of what has just been made
        self._pending[step.name] = stage
        if step.makes_lock_entry_only:
            self.write_locks()
        else:
            self._write_locks_now_and_then()

    def reproduce(self, step: Step, *, force: bool) -> bool:
        """Have DVC do a step that has no command; whether there was anything to do."""
        with _readable_errors(), self._repo.scm_context(quiet=True):
            done = step.stage.reproduce(force=force, interactive=False)
            self._tell(step.stage, self._checks.take())
            if done:
                step.stage.dump(update_pipeline=False)
        return bool(done)

    # -- dvc.lock

    def _write_locks_now_and_then(self) -> None:
        # a crash before the next writing loses nothing: the run-cache has the results
        if time.monotonic() - self._last_written > max(_LOCK_GAP_SECONDS, self._write_seconds / _LOCK_SHARE):
            self.write_locks()

    def write_locks(self) -> None:
        """Write the entries of every finished step to its dvc.lock, sorted by name."""
        started = time.monotonic()
        by_file: dict[Path, dict[str, Any]] = {}
        for stage in self._pending.values():
            by_file.setdefault(Path(stage.path).with_suffix(".lock"), {}).update(to_lockfile(stage))
        with self._repo.scm_context(quiet=True):
            for path, entries in by_file.items():
                document = read_lock(path)
                known = document["stages"]
                changed = any(known.get(name) != entry for name, entry in entries.items())
                if changed or list(known) != sorted(known):
                    write_lock(path, {**document, "stages": {**known, **entries}})
                    self._repo.scm_context.track_file(os.path.relpath(path))
        self._pending.clear()
        self._last_written = time.monotonic()
        self._write_seconds = self._last_written - started

    # -- what is damaged

    def set_damaged_aside(self) -> None:
        """From here on move what is damaged in the cache out of it, and put it right where that can be done."""
        self._checks.sets_aside = True

    def _damaged(self, out: Any) -> Iterator[str]:
        """What of a recorded output is damaged in the cache, as users know it."""
        if not (out.use_cache and out.hash_info):
            return
        path, whole = self._shown(out.fs_path), out.hash_info.value
        if self._is_damaged(out, whole):
            yield f"the list of files in {path}" if out.hash_info.isdir else path
        elif out.hash_info.isdir and (tree := out.get_obj()):
            yield from (f"{path}/{'/'.join(key)}" for key, _, hash in tree if self._is_damaged(out, hash.value))

    def _is_damaged(self, out: Any, oid: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return not self._checks.is_sound(out.cache.oid_to_path(oid), oid, out.cache.hash_name)
        return False

    def _tell(self, stage: Any, found: Iterable[Damage], where: str = "DVC's cache") -> None:
        """Say what was found damaged, where it was and where it is now."""
        names = {name: path for out in stage.outs for name, path in self._parts(out)}
        for damage in found:
            what = "an entry of the run-cache" if damage.name.startswith("runs/") else "an earlier result"
            aside = f"; set aside as {damage.aside}" if damage.aside else ""
            self._say(f"{names.get(damage.name, what)} is damaged in {where}{aside}")

    def _parts(self, out: Any) -> Iterator[tuple[str, str]]:
        if out.use_cache and out.hash_info:
            path = self._shown(out.fs_path)
            yield out.hash_info.value, f"the list of files in {path}" if out.hash_info.isdir else path
            if out.hash_info.isdir and (tree := out.get_obj()):
                yield from ((hash.value, f"{path}/{'/'.join(key)}") for key, _, hash in tree)

    def _put_right(self, stage: Any) -> bool:
        """Set aside what is damaged of a stage's recorded result, and look for it elsewhere; whether all is right."""
        if not self._checks.sets_aside:
            self._checks.take()
            return False
        for out in stage.outs:
            list(self._damaged(out))
        self._tell(stage, self._checks.take())
        if all(self._put_back(out) for out in stage.outs):
            self._say(f"put back into DVC's cache from what lies in {self._listed(stage)}, which is intact")
            return True
        if self._has_remote():
            self._say(f"fetching {self._listed(stage)} from the remote")
            try:
                for objects in stage.get_used_objs().values():
                    self._repo.cloud.pull(objects)
            except Exception as error:  # every file system has errors of its own
                self._say(f"the remote cannot be asked: {error}")
            for out in stage.outs:
                list(self._damaged(out))
            self._tell(stage, self._checks.take(), "the remote")
            if stage.outs_cached():
                return True
        then = "it is made again" if stage.cmd else "no stage makes it, so put it there again"
        self._say(f"no intact copy of {self._listed(stage)} was found: {then}")
        return False

    def _listed(self, stage: Any) -> str:
        return ", ".join(self._shown(out.fs_path) for out in stage.outs)

    def _put_back(self, out: Any) -> bool:
        """Whether the cache holds the recorded output, from what lies in the workspace if need be."""
        if not out.use_cache or not out.changed_cache():
            return True
        if not out.hash_info or not out.exists:
            return False
        cache = out.cache
        # what DVC remembers of its files it may have from a damaged object
        known, cache.state = cache.state, StateNoop()
        try:
            staging, _, obj = out._build(cache, out.fs_path, out.fs, out.hash_name, ignore=out.dvcignore)
            if obj.hash_info != out.hash_info:
                return False
            transfer(staging, cache, {obj.hash_info}, shallow=False)
        except FileNotFoundError:
            return False  # a link to what was set aside
        finally:
            cache.state = known
        return not out.changed_cache()

    def _has_remote(self) -> bool:
        with contextlib.suppress(NoRemoteError):
            self._repo.cloud.get_remote(None, "run")
            return True
        return False

    # -- the remote

    def pull(self, steps: Sequence[Step]) -> None:
        """Fetch and check out the results that dvc.lock records and this machine lacks, as far as the remote has them.

        Raises RecastError if there is no remote or it cannot be reached.
        """
        by_name = {step.name: step for step in steps}
        holds: dict[str, bool] = {}
        wanted = []
        with _readable_errors(), _parsed_once():
            for step in steps:
                upstream = [by_name[name].stage for name in step.reads]
                holds[step.name] = all(holds[name] for name in step.reads) and not step.stage.changed(True, upstream)
                if holds[step.name] and step.stage.changed_outs():
                    wanted.append(step)
                self._tell(step.stage, self._checks.take())
        if wanted:
            self._say(f"fetching the results of {len(wanted)} stage{'s' if len(wanted) > 1 else ''} from the remote")
            from dvc.exceptions import CheckoutError, DownloadError

            names = [step.name for step in wanted]
            with _readable_errors():
                # what the remote lacks is looked for in its run-cache, and run if it is not there either
                with contextlib.suppress(DownloadError):
                    self._fetch(names)
                for step in wanted:
                    for out in step.stage.outs:
                        list(self._damaged(out))
                    self._tell(step.stage, self._checks.take(), "the remote")
                try:
                    self._repo.checkout(names, allow_missing=True)
                except CheckoutError:
                    pass
                except KeyboardInterrupt:
                    for step in wanted:
                        self.clear(step)  # what is half-written
                    raise

    def _fetch(self, names: Sequence[str]) -> None:
        try:
            self._repo.fetch(names)
        except ObjectFormatError:
            # the remote's list of some folder's files is damaged, for which DVC fetches nothing at all
            if len(names) > 1:
                for name in names:
                    self._fetch([name])
            else:
                self._say(f"a list of files of '{names[0]}' is damaged in the remote")

    def _run_cache_folder(self, key: str) -> Path:
        return Path(self._repo.stage_cache.cache_dir) / key[:2] / key

    def _fetch_run_cache(self, stage: Any) -> None:
        """Bring the remote's run-cache entries for what the stage reads now, and no others."""
        recorded = [dep.hash_info for dep in stage.deps]
        stage.save_deps()
        key = _get_stage_hash(stage) if _can_hash(stage) else None
        # DVC looks at these next, to tell whether what dvc.lock records still holds
        for dep, hash_info in zip(stage.deps, recorded, strict=True):
            dep.hash_info = hash_info
        if key is None:
            return
        remote = self._repo.cloud.get_remote_odb(None, "fetch --run-cache", hash_name="md5-dos2unix")
        local = self._run_cache_folder(key)
        fresh = local.with_name(f"{key}.new")
        there = remote.fs.join(remote.path, "runs", key[:2], key)
        if local.is_dir() or not remote.fs.exists(there):
            return
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for entry in remote.fs.find(there):
            remote.fs.get_file(entry, str(fresh / remote.fs.name(entry)))
        fresh.rename(local)  # whole or not at all: DVC takes whatever lies in there

    def close(self) -> None:
        """Let go of DVC's databases."""
        dvc.rwlock.rwlock = _rwlock
        self._repo.close()
        self._checks.close()


def _cached_files(out: Any) -> Iterator[str]:
    """Every file of the cache that holds a part of the output."""
    yield out.cache.oid_to_path(out.hash_info.value)
    if out.hash_info.isdir and (tree := out.get_obj()):
        for _, _, hash in tree:
            yield out.cache.oid_to_path(hash.value)


def _after(graph: Any, planned: Sequence[Any]) -> dict[str, set[str]]:
    """For each stage the others it is to wait for, because one is frozen and reads what the other makes.

    DVC takes such an edge out of the graph, so either may come first; it is the one that DVC has first.
    """
    position = {stage: number for number, stage in enumerate(planned)}
    found: dict[str, set[str]] = {stage.addressing: set() for stage in planned}
    for stage in planned:
        for read in graph.successors(stage) if stage.frozen else ():
            if read in position:
                first, second = sorted((stage, read), key=position.__getitem__)
                found[second.addressing].add(first.addressing)
    return found


def _named(pid: int, command: str) -> str:
    """Another process as its user would know it."""
    names = {"pipeline": "recast", "dvc": "dvc", "recast": "recast"}
    pattern = r"^.*?(?:/(pipeline|dvc)/__main__\.py|-m (pipeline|dvc)|/bin/(dvc|recast))(?= |$)"
    short = re.sub(pattern, lambda found: names[found[found.lastindex or 0]], command)
    return f"'{short}' (process {pid})"


def _commands(stage: Any) -> tuple[str, ...]:
    if stage.frozen or not stage.cmd:
        return ()
    return tuple(stage.cmd) if isinstance(stage.cmd, list) else tuple(stage.cmd.splitlines())


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


def shell_calls(step: Step) -> tuple[list[list[str]], str, dict[str, str]]:
    """The argument lists by which DVC has the user's shell run the step, with working directory and environment."""
    options: dict[str, Any] = prepare_kwargs(step.stage)
    return [shell_command(get_executable(), command) for command in step.commands], options["cwd"], options["env"]


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    """DVC's refusals as ours: its messages, chained ones included, without a traceback."""
    try:
        yield
    except (DvcException, OSError) as error:  # a dependency that is missing is only an OSError in places
        said, cause = [str(error)], error.__cause__
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            if (text := str(cause)) and text not in said:
                said.append(text)
            cause = cause.__cause__
        raise RecastError(f"dvc: {': '.join(said)}", "'dvc status' may say more") from error


@contextlib.contextmanager
def _parsed_once() -> Iterator[None]:
    """Have DVC read a params file again only when it has changed: it would parse it for every stage, several times."""
    original = dvc.dependency.param.load_path
    dvc.dependency.param.load_path = _load_params
    try:
        yield
    finally:
        dvc.dependency.param.load_path = original


_load_path = dvc.dependency.param.load_path
_rwlock = dvc.rwlock.rwlock
_parsed: dict[str, tuple[object, Any]] = {}


def _load_params(path: str, fs: Any, **options: Any) -> Any:
    found = Path(path).stat()
    stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
    known = _parsed.get(path)
    if known is None or known[0] != stamp:
        known = _parsed[path] = (stamp, _load_path(path, fs, **options))
    return known[1]


class _AtomicFiles:
    """What `rwlock` needs of a file system, with writing that a kill cannot cut in half."""

    def __init__(self, fs: Any) -> None:
        self.join = fs.join

    @contextlib.contextmanager
    def open(self, path: str, mode: str = "r", encoding: str = "utf-8") -> Iterator[IO[str]]:
        if mode == "r":
            with Path(path).open(encoding=encoding) as file:
                yield file
            return
        text = io.StringIO()
        yield text
        fresh = Path(f"{path}.new")
        fresh.write_text(text.getvalue(), encoding=encoding)
        fresh.replace(path)


def _quieten(say: Callable[[str], None]) -> None:
    """DVC's warnings become the run's messages; its progress bars would break the run's display."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            # of a killed run's claims, which it has removed: nothing to do, and one for each file
            if "Auto removed it from the lock file" not in text:
                say(f"dvc: {text}")

    logger = logging.getLogger("dvc")
    logger.handlers = [Handler(logging.WARNING)]
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    # bars are drawn only where this level lets errors through
    for bars in (dvc.progress, dvc_data.callbacks):
        bars.logger.setLevel(logging.CRITICAL)


# -- what `recast share` asks


@dataclass(frozen=True)
class Settings:
    """What DVC's configuration says of sharing; a level is where it says so: repo, local, global or system."""

    remote: str
    """the default remote's name; empty if there is none"""
    remote_levels: frozenset[str]
    """the levels that name the default remote or say where it is"""
    url: str
    secrets: tuple[str, ...]
    """options in the committed configuration that hold a secret"""
    link_types: tuple[str, ...]
    link_types_level: str
    shared: str
    cache: Path


_SECRETS = frozenset(
    {
        *("password", "passphrase", "secret_access_key", "session_token", "account_key", "sas_token"),
        *("connection_string", "client_secret", "gdrive_client_secret", "oss_key_secret", "token"),
    }
)


def settings(root: Path) -> Settings:
    """The configuration of sharing, all levels merged. Raises RecastError where DVC cannot read it."""
    with _opened(root) as repo:
        config = repo.config
        levels = {level: config.load_one(level) for level in config.LEVELS if level in config.files}
        name = config["core"].get("remote", "")
        remotes = {level: set(values["remote"].get(name.lower(), ())) for level, values in levels.items()}
        named = [level for level, values in levels.items() if "remote" in values["core"]]
        located = [level for level in levels if "url" in remotes[level]]
        typed = [level for level, values in levels.items() if "type" in values["cache"]]
        if name and not located:
            raise RecastError(
                f"DVC's default remote '{name}' is configured nowhere", f"add it: 'dvc remote add {name} WHERE'"
            )
        committed = {option for remote in levels["repo"]["remote"].values() for option in remote}
        return Settings(
            remote=name,
            remote_levels=frozenset({named[-1], located[-1]} if name else ()),
            url=config["remote"][name.lower()]["url"] if name else "",
            secrets=tuple(sorted(committed & _SECRETS)),
            link_types=tuple(repo.cache.local.cache_types),
            link_types_level=typed[-1] if typed else "",
            shared=config["cache"].get("shared") or "",
            cache=Path(repo.cache.local.path),
        )


def believed_hash(root: Path, path: str) -> str | None:
    """What DVC takes a file or folder for, by what it remembers of modification times; None if it is not there."""
    with _opened(root) as repo:
        try:
            odb = repo.cache.local
            _, _, obj = build(odb, str(root / path), repo.fs, "md5", ignore=repo.dvcignore, dry_run=True)
        except FileNotFoundError:
            return None
        return str(obj.hash_info.value)


def working_links(root: Path, types: Iterable[str]) -> list[str]:
    """Which of the link types work from the cache to the repository, by making them. Raises OSError if none can be."""
    from dvc_objects.fs.generic import test_links

    with _opened(root) as repo:
        cache, fs = repo.cache.local, repo.fs
    # the link is made beside the last argument
    return [str(link) for link in test_links(list(types), cache.fs, cache.path, fs, str(root / "any"))]


def ask_remote(root: Path) -> Iterator[dict[str, Any]]:
    """Facts on the default remote, each as soon as it is known: `exists`, `writable`, `lacks`, `lacks_runs`, `nowhere`.

    The names are stages' (or .dvc files'); `nowhere` is what this machine lacks too. Then `damaged_here`, stages with
    something damaged in this machine's cache, and, of a remote in a folder, `damaged_there`, paths of its files. An
    `error` comes last.
    """
    try:
        with _opened(root) as repo:
            remote = repo.cloud.get_remote()
            yield {"exists": _remote_exists(remote)}
            yield from _remote_is_writable(remote)
            yield from _remote_lacks(repo, remote)
            yield from _damage(root, repo, remote)
    except ImportError as error:  # DVC has no other sign for a plugin that is not installed
        yield {"error": str(error), "plugin": f"dvc-{urlsplit(settings(root).url).scheme}"}
    except Exception as error:  # every file system has errors of its own
        said = [str(error) or type(error).__name__]
        while (error := error.__cause__) is not None:  # type: ignore[assignment]
            said.append(str(error))
        yield {"error": ": ".join(dict.fromkeys(filter(None, said)))}


def _remote_exists(remote: Any) -> bool:
    if remote.fs.protocol in ("http", "https"):
        # its `exists` takes a server that does not answer for an absent file
        with contextlib.suppress(FileNotFoundError):
            remote.fs.fs.cat_file(remote.path)
        return True
    return bool(remote.fs.exists(remote.path))


def _remote_is_writable(remote: Any) -> Iterator[dict[str, Any]]:
    if remote.fs.protocol in ("http", "https"):
        return
    if remote.fs.protocol in ("local", "ssh") and not remote.fs.exists(remote.path):
        return  # the attempt would make the folder
    # a fixed name: what a lost connection leaves behind stays one empty file
    attempt = remote.fs.join(remote.path, ".recast-share")
    try:
        remote.fs.pipe_file(attempt, b"")
        remote.fs.remove(attempt)
        yield {"writable": True}
    except FileNotFoundError:
        raise  # no such bucket
    except Exception as error:
        yield {"writable": False, "refusal": str(error) or type(error).__name__}


def _remote_lacks(repo: Any, remote: Any) -> Iterator[dict[str, Any]]:
    """Whose outputs and whose run-cache entries in dvc.lock are not in the remote."""
    from dvc.fs import HTTPFileSystem
    from dvc.stage.cache import _get_cache_hash

    objects: dict[str, set[str]] = {}
    runs: dict[str, str] = {}
    for stage in repo.index.stages:
        hashed = [out for out in stage.outs if out.use_cache and out.can_push and out.hash_info]
        objects[stage.addressing] = {oid for out in hashed for oid in _objects(out, repo, remote)}
        entry = _recorded(stage)
        if entry.get("deps") and entry.get("outs") and len(hashed) == len(stage.outs):
            value = _get_cache_hash(entry)
            key = _get_cache_hash(entry, key=True)
            runs[stage.addressing] = f"runs/{key[:2]}/{key}/{value}"
    here, there = repo.cache.local, remote.odb
    wanted = set().union(*objects.values())
    absent = wanted - set(there.oids_exist(sorted(wanted)))
    lost = {oid for oid in absent if not here.exists(oid)}
    nowhere = {name for name, oids in objects.items() if oids & lost}
    yield {"results": len(runs), "lacks": sorted(name for name, oids in objects.items() if oids & absent)}
    if not isinstance(remote.fs, HTTPFileSystem):
        paths = [remote.fs.join(remote.path, *run.split("/")) for run in runs.values()]
        found = dict(zip(runs, remote.fs.exists(paths) if paths else [], strict=True))
        lacking = sorted(name for name, exists in found.items() if not exists)
        own = Path(repo.cache.legacy.path)
        nowhere |= {name for name in lacking if not (own / runs[name]).exists()}
        yield {"lacks_runs": lacking}
    yield {"nowhere": sorted(nowhere)}


def _damage(root: Path, repo: Any, remote: Any) -> Iterator[dict[str, Any]]:
    """What of the results in dvc.lock is damaged here, and in a remote that is a folder."""
    checks = Checks(root)
    here, there = repo.cache.local, remote.odb
    kept = time.monotonic()

    def damaged(odb: Any, oids: Iterable[str]) -> set[str]:
        nonlocal kept
        found = set()
        for oid in sorted(oids):
            with contextlib.suppress(FileNotFoundError):
                if not checks.is_sound(odb.oid_to_path(oid), oid, odb.hash_name):
                    found.add(oid)
            if time.monotonic() - kept > _LOCK_GAP_SECONDS:  # who asks may end this at any moment
                checks.close()
                kept = time.monotonic()
        return found

    outs = [
        (stage.addressing, out)
        for stage in repo.index.stages
        for out in stage.outs
        if out.use_cache and out.can_push and out.hash_info
    ]
    try:
        names = {name for name, out in outs if damaged(here, _objects(out, repo, remote))}
        yield {"damaged_here": sorted(names)}
        if remote.fs.protocol == "local":
            oids = {oid for _, out in outs for oid in damaged(there, _objects(out, repo, remote))}
            yield {"damaged_there": sorted(there.oid_to_path(oid) for oid in oids)}
    finally:
        checks.close()


def _recorded(stage: Any) -> dict[str, Any]:
    """The entry of dvc.lock that the run-cache has a copy of; empty where there is none."""
    if not stage.cmd or stage.always_changed or stage.is_callback or any(out.persist for out in stage.outs):
        return {}
    # not the stage itself: its command is that of dvc.yaml, which may have been edited since
    return dict((stage.dvcfile.lockfile_contents.get("stages") or {}).get(stage.name, {}))


def _objects(out: Any, repo: Any, remote: Any) -> set[str]:
    """The names under which an output lies in a cache: one, or a folder's list and all it lists."""
    from dvc_data.hashfile.tree import Tree

    oid = out.hash_info.value
    if not out.hash_info.isdir:
        return {oid}
    for odb in (repo.cache.local, remote.odb):
        with contextlib.suppress(Exception):  # absent, or damaged: then the list is what is missing
            return {oid, *(entry.value for _, _, entry in Tree.load(odb, out.hash_info))}
    return {oid}


class _PlainFiles(DvcIgnoreFilter):  # type: ignore[misc]
    """Leaves out of recipes/ what is no file, or has no name: DVC would wait for a FIFO, and stop at a dead link."""

    def __call__(self, root: str, dirs: Any, files: Any, **kwargs: Any) -> Any:
        dirs, files = super().__call__(root, dirs, files, **kwargs)
        if self.fs.isin_or_eq(root, str(Path(self.root_dir) / RECIPES)):
            files = [name for name in files if name.isprintable() and (Path(root) / name).is_file()]
        return dirs, files


class _PlainFilesRepo(Repo):  # type: ignore[misc]
    """DVC's own, for which a recipe that cannot be read stands in nobody's way."""

    @cached_property
    def dvcignore(self) -> DvcIgnoreFilter:
        return _PlainFiles(self.fs, self.root_dir)


@contextlib.contextmanager
def _opened(root: Path) -> Iterator[Any]:
    _quieten(lambda text: None)
    with _readable_errors():
        repo = _PlainFilesRepo(str(root))
        try:
            yield repo
        finally:
            repo.close()
