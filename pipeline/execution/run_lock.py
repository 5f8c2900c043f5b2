"""One `recast run` at a time in a repository: the second waits, and is told for whom."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from recast.pipeline.core.whole_file import replaced

LOCK = ".recast/run.lock"
_HOLDER = ".recast/run.json"
_POLL_SECONDS = 0.2


@contextlib.contextmanager
def only_run(
    root: Path, say: Callable[[str], None], waits: Callable[[], None], looks: Callable[[], object] = lambda: None
) -> Iterator[bool]:
    """Hold the repository's run lock; whether it had to be waited for. The system frees it when its holder ends,
    however that happens.

    Before it is waited for, `looks` is called, and may raise: nobody should wait to hear of a misspelt name. `waits` is
    called again and again while somebody else has it, and may raise to give up.
    """
    (root / LOCK).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(root / LOCK))
    told = ""
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            if not told:
                looks()
            holder = _holder(root)
            if holder != told:
                say(f"waiting for {holder}, which runs in this repository")
                told = holder
            waits()
            time.sleep(_POLL_SECONDS)
    try:
        said = {"pid": os.getpid(), "command": " ".join(["recast", *sys.argv[1:]]), "since": time.time()}
        with replaced(root / _HOLDER) as fresh:
            fresh.write_text(json.dumps(said), encoding="utf-8")
        yield bool(told)
    finally:
        (root / _HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(root: Path) -> str:
    try:
        said = json.loads((root / _HOLDER).read_text(encoding="utf-8"))
        since = datetime.fromtimestamp(said["since"])
        return f"'{said['command']}' (process {said['pid']}, since {since:%H:%M:%S})"
    except (OSError, ValueError, KeyError):
        return "another 'recast run'"
