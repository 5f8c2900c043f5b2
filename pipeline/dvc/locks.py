"""DVC's two locks: the one that every command holds while it reads or writes, and the claims on files beside it."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import dvc.rwlock
import psutil
from dvc.lock import LockError

from recast.pipeline.core.whole_file import replaced
from recast.pipeline.dvc.step import Step

# the least time between two narrowings of the claim, and how much of the run they may take
_GAP_SECONDS = 2.0
_SHARE = 0.05

_rwlock = dvc.rwlock.rwlock


class Locks:
    """A run's hold on a repository, against other DVC processes."""

    def __init__(self, repo: Any, say: Callable[[str], None], waits: Callable[[], None]) -> None:
        """`say` tells the user whom is waited for; `waits` is called again and again then, and may raise to give up."""
        self._repo = repo
        self._say = say
        self._waits = waits
        self._claim: contextlib.ExitStack | None = None
        self._blocker = ""
        self._narrowed = time.monotonic()
        self._narrow_seconds = 0.0
        # what DVC's own calls would claim, `claim` has claimed before
        dvc.rwlock.rwlock = lambda *_: contextlib.nullcontext()
        self._repo.lock._friendly = False  # who is waited for is said by `held`

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
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
        while `held`. False, with nothing claimed, if it had to wait for a `dvc repro` that has one of the files:
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
        """Now and then, claim no more than what these steps need any longer; call it while `held`."""
        started = time.monotonic()
        if self._claim and started - self._narrowed > max(_GAP_SECONDS, self._narrow_seconds / _SHARE):
            # nobody can claim anything in between: for that they need the lock
            self.release()
            self.claim(steps())
            self._narrowed = time.monotonic()
            self._narrow_seconds = self._narrowed - started

    def release(self) -> None:
        """Give the claim back; call it while `held`."""
        if self._claim:
            claim, self._claim = self._claim, None
            # where nothing can be written any more it stays noted, until another command sees that its process is gone
            with contextlib.suppress(OSError):
                claim.close()

    @property
    def plain_folder(self) -> str:
        """The folder of the locks; empty if they are of a kind that DVC alone can take."""
        return "" if self._repo.config["core"].get("hardlink_lock", False) else str(self._repo.tmp_dir)

    def close(self) -> None:
        """Let DVC's own calls claim again."""
        dvc.rwlock.rwlock = _rwlock


def _named(pid: int, command: str) -> str:
    """Another process as its user would know it."""
    pattern = r"^.*?(?:/(recast|dvc)/__main__\.py|-m (recast|dvc)|/bin/(dvc|recast))(?= |$)"
    short = re.sub(pattern, lambda found: found[found.lastindex or 0], command)
    return f"'{short}' (process {pid})"


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
        with replaced(Path(path)) as fresh:
            fresh.write_text(text.getvalue(), encoding=encoding)
