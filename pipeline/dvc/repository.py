"""What `dvc repro` does, taken apart: graph, status, run-cache, outputs, dvc.lock.

DVC has no public calls to run one stage, so `dvc.repo.reproduce`, `Stage.reproduce` and `Stage.run` are taken apart
into steps that can be interleaved; hashing, run-cache, checkout and the entries of dvc.lock stay DVC's own code. DVC
is pinned, and tests/pipeline/dvc/test_repository.py names the call that moved when it moves.

None of this is thread-safe, as DVC is not: one thread makes every call.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dvc.config import NoRemoteError
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.stage.cache import RunCacheNotFoundError, _can_hash, _get_stage_hash
from dvc.stage.serialize import to_lockfile
from dvc_objects.errors import ObjectFormatError

from recast.pipeline.core.errors import RecastError, RemoteFailed
from recast.pipeline.core.layout import GUARD
from recast.pipeline.core.listed import listed
from recast.pipeline.dvc.checked_cache import Checks
from recast.pipeline.dvc.damage import Damage, has_remote
from recast.pipeline.dvc.giving import entry_of, give, key_of, reads_of, receive
from recast.pipeline.dvc.inspection import Inspection
from recast.pipeline.dvc.lockfile import read_lock, write_lock
from recast.pipeline.dvc.locks import Locks
from recast.pipeline.dvc.noted_reads import NotedReads
from recast.pipeline.dvc.session import PlainFilesRepo, parsed_once, quieten, readable_errors, remote_errors
from recast.pipeline.dvc.step import Step
from recast.pipeline.dvc.step_looks import Looks

# the least time between two writings of dvc.lock while a run goes on, and how much of the run they may take
_LOCK_GAP_SECONDS = 2.0
_LOCK_SHARE = 0.05
_IS_HASH = re.compile("[0-9a-f]{64}")


class Repository:
    """The DVC repository a run works on. Raises RecastError where DVC refuses it."""

    def __init__(self, root: Path, say: Callable[[str], None], waits: Callable[[], None] = lambda: None) -> None:
        """`say` tells the user whom is waited for; `waits` is called again and again then, and may raise to give up."""
        self.root = root
        self._say = say
        self._pending: dict[str, Any] = {}
        self._noted: set[str] = set()
        """steps that were noted to read something else, perhaps, than dvc.lock says"""
        self.remote_has_answered = False
        """whether the remote could be asked for results since this was made"""
        self.keeps_lock = False
        """whether dvc.lock is left to somebody else"""
        self._last_written = time.monotonic()
        self._write_seconds = 0.0
        quieten(say)
        with readable_errors():
            self._repo = PlainFilesRepo(str(root))
        self._reads = NotedReads(self._repo)
        self._checks = Checks(root)
        self._checks.attach(self._repo)
        self.locks = Locks(self._repo, say, waits)
        self._damage = Damage(self._repo, self._checks, say, self._shown)
        self.looks = Looks(root, self._repo, self._shown)
        self.inspection = Inspection(self._repo, self._damage, self._shown)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock every DVC command holds while it reads or writes; waits for whoever has it."""
        return self.locks.held()

    def set_damaged_aside(self) -> None:
        """From here on move what is damaged in the cache out of it, and put it right where that can be done."""
        self._checks.sets_aside = True

    # -- what there is to do

    def steps(self, targets: Iterable[str]) -> list[Step]:
        """Every stage that the targets need, themselves included, in an order that runs."""
        self._noted.clear()
        self._repo._reset()  # or it would not look at dvc.yaml and dvc.lock again
        with readable_errors(), parsed_once():
            # by name: for each target that it collects, DVC reads the whole file once more
            by_name = {stage.addressing: stage for stage in self._repo.index.stages}
            wanted = {target: by_name.get(target) for target in targets}
            others = collect_stages(self._repo, [target for target, stage in wanted.items() if stage is None])
            stages = [*filter(None, wanted.values()), *others]
            whole = self._repo.index.graph
            graph = get_active_graph(whole)
            planned = plan_repro(graph, stages)
            after = _after(whole, planned)
            for stage in planned:
                if stage.addressing == GUARD:
                    stage.always_changed = False  # which is for `dvc repro`: a run itself looks at plugins, by `sync`
            found = [
                Step(
                    stage.addressing,
                    _commands(stage),
                    tuple(sorted(read.addressing for read in graph.successors(stage))),
                    stage.wdir,
                    tuple(sorted(after[stage.addressing])),
                    stage,
                )
                for stage in planned
            ]
        return found

    def is_changed(self, step: Step) -> bool:
        """Whether DVC would run the stage or restore it, given that what it reads is in its final state.

        What is damaged in the cache counts as missing, if it could not be put right.
        """
        with readable_errors(), parsed_once():
            changed = bool(step.stage.changed())
            if self._checks.found and self._damage.put_right(step.stage):
                changed = bool(step.stage.changed())
            self._checks.take()
        return changed

    def has_result(self, step: Step) -> bool:
        """Whether the cache holds the result that dvc.lock records, so that the step may not have to run."""
        outs = step.stage.outs
        return bool(outs) and all(out.hash_info and out.cache.exists(out.hash_info.value) for out in outs)

    @property
    def runs(self) -> str:
        """The folder of the run-cache."""
        return str(self._repo.stage_cache.cache_dir)

    def _shown(self, path: str) -> str:
        place = Path(path)
        return str(place.relative_to(self.root)) if place.is_relative_to(self.root) else path

    # -- doing it, in DVC's order

    def clear(self, step: Step) -> None:
        """Remove the outputs, as `dvc repro` does before it runs or restores a stage."""
        with readable_errors():
            step.stage.remove_outs(ignore_remove=False, force=False)

    def require_remote(self, option: str = "--pull") -> None:
        """RecastError unless there is a remote to pull from, or to push to."""
        purpose = "push to" if option == "--push" else "pull from"
        with readable_errors():
            try:
                remote = self._repo.cloud.get_remote(None, f"run {option}")
            except NoRemoteError:
                raise RecastError(
                    f"there is no DVC remote to {purpose}",
                    f"add one ('dvc remote add --default NAME WHERE'), or drop {option}",
                ) from None
            if option != "--pull" and (remote.worktree or remote.fs.version_aware):
                raise RecastError(
                    f"the remote '{remote.name}' keeps versions in the cloud's own way, which holds no run-cache",
                    f"use one without 'version_aware' and 'worktree', or 'dvc push' in place of {option}",
                )

    def restore(self, step: Step, *, pull: bool = False) -> bool:
        """Check the result out if the cache, or with `pull` the remote, has one for what the stage reads now.

        Raises RemoteFailed if the remote cannot be asked.
        """
        stage = step.stage
        cmd_changed = stage.cmd_changed
        # DVC takes the outputs in dvc.lock for those of what the stage is noted to read, which that may not have been
        # noted for: as if the command were another, it then looks for the result by its key
        stage.cmd_changed = cmd_changed or step.name in self._noted
        try:
            with readable_errors(), parsed_once():
                # what comes from it is used: it is hashed in any case
                with self._checks.afresh():
                    restored = self._restored(stage, pull)
                    if found := self._checks.take():
                        self._damage.tell(stage, found)
                        if not restored and not pull and has_remote(self._repo):
                            self._say("looking for an intact copy in the remote")
                            try:
                                restored = self._restored(stage, pull=True)
                            except RemoteFailed as error:
                                self._say(error.message)
                            self._damage.tell(stage, self._checks.take(), "the remote")
                if restored:
                    stage.save_deps()
        finally:
            stage.cmd_changed = cmd_changed
        return restored

    def _restored(self, stage: Any, pull: bool) -> bool:
        with remote_errors(self.root) if pull else contextlib.nullcontext():
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
        self._noted.add(step.name)
        with readable_errors(), parsed_once():
            self._reads.note(step.stage)
            step.stage.save_deps()

    def edited(self, step: Step, held: Mapping[str, int]) -> str:
        """What the step reads and was edited since that was noted, for people: its result is that of no key. Or empty.

        `held`: files that its process has read whole at once, and when they were last modified then, in nanoseconds.
        """
        with readable_errors():
            paths = [self._shown(path) for path in self._reads.edited(step.stage, held)]
        return listed(paths, 3)

    def finish(self, step: Step) -> None:
        """Hash the outputs, put them into the cache and the run-cache; dvc.lock follows with `write_locks`.

        What it depends on is not hashed again, as DVC would: that is for `edited`, to be asked before.
        """
        stage = step.stage
        with readable_errors(), self._repo.scm_context(quiet=True), parsed_once():
            stage.save_outs()
            stage.md5 = stage.compute_md5()
            stage.cmd_changed = False  # told when dvc.lock was read; the result is now that of this command
            if not any(not out.use_cache for out in stage.outs if not (out.is_metric or out.is_plot)):
                self._repo.stage_cache.save(stage)
            stage.commit()
            self._damage.tell(stage, self._checks.take())  # what was in the place of what has just been made
        self._pending[step.name] = stage
        if self.keeps_lock:
            return
        if step.makes_lock_entry_only:
            self.write_locks()
        else:
            self._write_locks_now_and_then()

    def reproduce(self, step: Step, *, force: bool) -> bool:
        """Have DVC do a step that has no command; whether there was anything to do."""
        with readable_errors(), self._repo.scm_context(quiet=True):
            done = step.stage.reproduce(force=force, interactive=False)
            self._damage.tell(step.stage, self._checks.take())
            if done:
                step.stage.dump(update_pipeline=False)
        return bool(done)

    # -- dvc.lock

    def _write_locks_now_and_then(self) -> None:
        # a crash before the next writing loses nothing: the run-cache has the results
        if time.monotonic() - self._last_written > max(_LOCK_GAP_SECONDS, self._write_seconds / _LOCK_SHARE):
            with contextlib.suppress(RecastError):  # the end of the run writes them again, or says why not
                self.write_locks()

    def write_locks(self) -> None:
        """Write the entries of every finished step to its dvc.lock, sorted by name.

        Raises RecastError, with those kept that are written already, if there is no room, or no right to.
        """
        started = time.monotonic()
        by_file: dict[Path, dict[str, Any]] = {}
        for stage in self._pending.values():
            by_file.setdefault(Path(stage.path).with_suffix(".lock"), {}).update(to_lockfile(stage))
        with readable_errors(), self._repo.scm_context(quiet=True):
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

    # -- the remote

    def pull(self, steps: Sequence[Step]) -> None:
        """Fetch and check out the results that dvc.lock records and this machine lacks, as far as the remote has them.

        Raises RecastError if there is no remote, and RemoteFailed if it cannot be asked.
        """
        by_name = {step.name: step for step in steps}
        holds: dict[str, bool] = {}
        wanted = []
        with readable_errors(), parsed_once():
            for step in steps:
                upstream = [by_name[name].stage for name in step.reads]
                holds[step.name] = all(holds[name] for name in step.reads) and not step.stage.changed(True, upstream)
                if holds[step.name] and step.stage.changed_outs():
                    wanted.append(step)
                self._damage.tell(step.stage, self._checks.take())
        if wanted:
            self._say(f"fetching the results of {len(wanted)} stage{'s' if len(wanted) > 1 else ''} from the remote")
            from dvc.exceptions import CheckoutError, DownloadError

            names = [step.name for step in wanted]
            with readable_errors():
                # what the remote lacks is looked for in its run-cache, and run if it is not there either
                with remote_errors(self.root), contextlib.suppress(DownloadError):
                    self._fetch(names)
                    self.remote_has_answered = True  # what DVC cannot fetch it may have been refused
                for step in wanted:
                    for out in step.stage.outs:
                        list(self._damage.of(out))
                    self._damage.tell(step.stage, self._checks.take(), "the remote")
                # where a list of a folder's files is nowhere, DVC takes it for an empty one, and refuses to empty that
                whole = [step.name for step in wanted if _is_whole(step.stage)]
                try:
                    if whole:
                        self._repo.checkout(whole, allow_missing=True)
                except CheckoutError:
                    pass
                except KeyboardInterrupt:
                    for step in wanted:
                        self.clear(step)  # what is half-written
                    raise

    def _fetch(self, names: Sequence[str]) -> None:
        try:
            self._repo.fetch(names)
        except (ObjectFormatError, AssertionError):
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
        if local.is_dir():
            return
        is_there = remote.fs.exists(there)
        self.remote_has_answered = True
        if not is_there:
            return
        # another may be just sending one: its folder is there then, and a file of another name
        entries = [entry for entry in remote.fs.find(there) if _IS_HASH.fullmatch(remote.fs.name(entry))]
        if not entries:
            return
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for entry in entries:
            remote.fs.get_file(entry, str(fresh / remote.fs.name(entry)))
        fresh.rename(local)  # whole or not at all: DVC takes whatever lies in there

    def receive(self, step: Step, entry: Mapping[str, Any]) -> None:
        """Have the outputs that an entry of dvc.lock names of a step, from the cache or the remote.

        A `.dvc` file names its own, and has no entry. Raises RecastError if the remote does not have them, and
        RemoteFailed if it cannot be asked.
        """
        with readable_errors(), remote_errors(self.root), parsed_once():
            receive(self._repo, step.stage, entry)

    def publish(self, step: Step) -> None:
        """Put what the step has just left into the cache, the run-cache and the remote; dvc.lock stays as it is."""
        self.finish(step)
        self.push([step])

    def remote_place(self) -> tuple[Any, str]:
        """The file system of the default remote, as DVC has it, and the path there."""
        with readable_errors():
            remote = self._repo.cloud.get_remote(None, "run --share")
            return remote.fs, remote.path

    def facts(self, step: Step, upstream: Sequence[Step]) -> tuple[str, dict[str, str], dict[str, dict[str, Any]]]:
        """What somebody elsewhere must know to run the step: its key, what that is made from, and what it reads."""
        return key_of(step.stage), reads_of(step.stage), {one.name: entry_of(one.stage) for one in upstream}

    def run_key(self, step: Step) -> str:
        """What the run-cache finds the step's result by, for what it is noted to read; empty if that cannot hold it."""
        return key_of(step.stage)

    def push(self, steps: Sequence[Step]) -> None:
        """Send the results of finished steps that the remote lacks. Raises RecastError if that fails."""
        with readable_errors(), remote_errors(self.root), parsed_once():
            give(self._repo, [step.stage for step in steps])

    def close(self) -> None:
        """Let go of DVC's databases."""
        self.locks.close()
        self._repo.close()
        self._checks.close()


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


def _is_whole(stage: Any) -> bool:
    """Whether the cache has all of the stage's result that belongs there."""
    return not any(out.use_cache and out.changed_cache() for out in stage.outs)


def _commands(stage: Any) -> tuple[str, ...]:
    if stage.frozen or not stage.cmd:
        return ()
    return tuple(stage.cmd) if isinstance(stage.cmd, list) else tuple(stage.cmd.splitlines())
