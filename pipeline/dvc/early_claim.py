"""A claim on files, told to other DVC processes as DVC tells it, without importing it.

DVC's own claims are JSON in a file, which is read and written under two locks of `zc.lockfile`. This one is made only
where nobody else claims anything; who else is there is waited for with DVC (`locks`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import zc.lockfile

from recast.pipeline.core.whole_file import replaced

LOCK = "lock"
CLAIMS = "rwlock"
CLAIMS_LOCK = "rwlock.lock"


class EarlyClaim:
    """A claim on what some steps read and write."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where DVC's locks are."""
        self._folder = folder
        self._info = {"pid": os.getpid(), "cmd": " ".join(sys.argv)}
        self._is_held = False

    def take(self, reads: Iterable[str], writes: Iterable[str]) -> bool:
        """Claim these paths, absolute ones; whether that could be done at once."""
        try:
            with self._locked(LOCK), self._locked(CLAIMS_LOCK):
                if any(psutil.pid_exists(info["pid"]) for info in self._infos()):
                    return False
                self._write(
                    {"read": {path: [self._info] for path in reads}, "write": dict.fromkeys(writes, self._info)}
                )
        except (zc.lockfile.LockError, OSError, ValueError, LookupError, TypeError, AttributeError):
            return False  # DVC says what is wrong
        self._is_held = True
        return True

    def give_back(self) -> None:
        """Let others have the files; call it while DVC's lock is held."""
        if not self._is_held:
            return
        with self._locked(CLAIMS_LOCK):
            claims = self._claims()
            kept = {path: [info for info in infos if info != self._info] for path, infos in claims["read"].items()}
            self._write(
                {
                    "read": {path: infos for path, infos in kept.items() if infos},
                    "write": {path: info for path, info in claims["write"].items() if info != self._info},
                }
            )
        self._is_held = False

    def drop(self, waits: Callable[[], None]) -> None:
        """Give it back where DVC's lock is not held; `waits` is called while another has that."""
        while self._is_held:
            try:
                with self._locked(LOCK):
                    self.give_back()
            except zc.lockfile.LockError:
                waits()

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        lock = zc.lockfile.LockFile(str(self._folder / name))
        try:
            yield
        finally:
            lock.close()

    def _claims(self) -> dict[str, Any]:
        try:
            said = json.loads((self._folder / CLAIMS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            said = {}
        return {"read": said.get("read") or {}, "write": said.get("write") or {}}

    def _infos(self) -> Iterator[dict[str, Any]]:
        """Who claims anything; a killed process may be among them."""
        claims = self._claims()
        yield from claims["write"].values()
        for infos in claims["read"].values():
            yield from infos

    def _write(self, claims: dict[str, Any]) -> None:
        with replaced(self._folder / CLAIMS) as fresh:
            fresh.write_text(json.dumps(claims), encoding="utf-8")
