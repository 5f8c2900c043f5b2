"""Claims on work, in the DVC remote: of those who start a stage together, one runs it and the others wait.

A claim is a file that can be made by one alone (`O_EXCL` in a folder and over SFTP, `If-None-Match: *` on S3). Its name
is the key and a number, and the claim with the highest number counts. Its holder writes it anew, with a counter,
several times within its lease. Who waits looks whether it changes: one that stays the same for a whole lease, measured
by the waiter's own clock, has lost its holder, and is taken over by making the next number. So no two clocks are ever
compared, neither of two machines nor of one and the remote's; that a clock is wrong or set back changes nothing.

Who has made a claim lists them once more, and gives its own back if there is another that it did not know to be dead.
Whatever two of them do at the same time, where listing sees what was made before, as it does in a folder, over SFTP and
on S3, at most one stays. If all of it fails, say because a machine slept for longer than its lease, a stage is run
twice and gives one result under one key: work is lost, nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import json
import math
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from recast.pipeline.core.errors import RecastError, told

FOLDER = "recast/claims"
"""where claims lie in a remote, below a folder for the first two digits of the key"""
LEASE_SECONDS = 60.0
# how often within its lease a claim is renewed, and how long a lease of somebody else's may be
_RENEWALS = 4
_LONGEST = 3600.0
_POLL_SECONDS = 1.0


_Asks = ParamSpec("_Asks")
_Answer = TypeVar("_Answer")


def _asked(ask: Callable[Concatenate[Any, _Asks], _Answer]) -> Callable[Concatenate[Any, _Asks], _Answer]:
    """A question to the remote: after one that failed, by a connection of its own, for the old one may be broken."""

    @functools.wraps(ask)
    def answer(store: Any, /, *arguments: _Asks.args, **options: _Asks.kwargs) -> _Answer:
        store.mend()
        try:
            return ask(store, *arguments, **options)
        except FileNotFoundError:
            raise
        except Exception:
            store.is_broken = True
            raise

    return answer


class Store:
    """The few things that claims need of a remote's file system, each of them atomic there."""

    def __init__(self, fs: Any, path: str) -> None:
        """`fs` as DVC has it. Raises RecastError for one in which nothing can be made by one alone."""
        protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
        if protocol not in ("local", "ssh", "s3"):
            raise RecastError(
                f"a remote of the kind '{protocol}' has no way to claim work",
                "use a folder, SSH or S3 for --share, or --pull --push, which claim nothing",
            )
        self._protocol = protocol
        self._opened = fs
        self._fs = fs.fs
        self.is_broken = False
        """whether the last call failed, and not for a file that is not there"""
        self._path = path.rstrip("/")

    def mend(self) -> None:
        """Connect anew after a call that failed. A folder has no connection, and S3's are made as they are needed."""
        if self.is_broken and self._protocol == "ssh":
            self._fs = type(self._opened)(**self._opened.config).fs
        self.is_broken = False

    def place(self, *parts: str) -> str:
        return "/".join((self._path, *parts))

    @_asked
    def create(self, path: str, data: bytes) -> bool:
        """Make the file; False if it is there."""
        if self._protocol == "s3":
            try:
                self._fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            return True
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        if self._protocol == "local":
            try:
                with Path(path).open("xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
            return True
        try:
            with self._fs.open(path, "xb") as file:
                file.write(data)
        except FileNotFoundError:
            raise
        except Exception:
            # SFTP has no word for a file that is there, but for a failure
            if self._fs.exists(path):
                return False
            raise
        return True

    @_asked
    def write(self, path: str, data: bytes) -> None:
        self._fs.pipe_file(path, data)

    @_asked
    def read(self, path: str) -> bytes | None:
        """What is in it; None if it is not there."""
        try:
            return bytes(self._fs.cat_file(path))
        except FileNotFoundError:
            return None

    @_asked
    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(path)

    @_asked
    def names(self, folder: str) -> list[str]:
        try:
            found = self._fs.ls(folder, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return [str(path).rstrip("/").rpartition("/")[2] for path in found]


@dataclass
class _Held:
    """A claim of this process's."""

    path: str
    token: str
    beat: int = 0
    renewed: float = field(default_factory=time.monotonic)
    """when it was last known to be renewed"""
    told: bool = False


@dataclass(frozen=True)
class _Seen:
    """A claim of somebody else's, as it was seen to change last."""

    number: int
    content: bytes
    since: float


class Claims:
    """This process's claims, kept by a thread of its own, and its looks at those of others.

    `take`, `give_back` and `close` are called by one thread. `changed` is called from another when a claim that was
    found taken may be had; `say` is told what people should know.
    """

    def __init__(
        self,
        store: Store,
        changed: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda text: None,
        *,
        lease: float = LEASE_SECONDS,
    ) -> None:
        """`lease` in seconds."""
        self._store = store
        self._changed = changed
        self._say = say
        self._lease = lease
        self._who = f"{_user()}@{socket.gethostname()} (process {os.getpid()})"
        self._held: dict[str, _Held] = {}
        self._seen: dict[str, _Seen] = {}
        self._watched: dict[str, str] = {}
        """keys that others hold -> what they are called"""
        self._freed: set[str] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._keeper: threading.Thread | None = None

    def take(self, key: str, title: str) -> str:
        """Claim the work; empty if that went well, else who has it, which is then watched.

        Raises what the remote's file system raises.
        """
        with self._lock:
            if key in self._held:
                return ""
        for _ in range(8):
            holder, number = self._holder(key)
            if holder:
                break
            held = _Held(self._path(key, number), uuid.uuid4().hex)
            if not self._store.create(held.path, self._content(held, title)):
                continue
            if self._is_alone(key, number):
                with self._lock:
                    self._held[key] = held
                    self._seen.pop(key, None)
                self._keep()
                return ""
            self._store.remove(held.path)
            time.sleep(random.uniform(0.05, 0.3))  # of several that gave way to each other, one comes first
        with self._lock:
            self._watched[key] = title
            self._freed.discard(key)
        self._keep()
        return holder or "another run"

    def _holder(self, key: str) -> tuple[str, int]:
        """Who holds the claim, if anybody does who is alive, else the number that may be made."""
        numbers = self._numbers(key)
        if not numbers:
            with self._lock:
                self._seen.pop(key, None)
            return "", 1
        number = numbers[-1]
        content = self._store.read(self._path(key, number))
        if content is None:
            return "", 1
        now = time.monotonic()
        said = _parsed(content)
        with self._lock:
            seen = self._seen.get(key)
            if seen is None or (seen.number, seen.content) != (number, content):
                seen = self._seen[key] = _Seen(number, content, now)
        if now - seen.since > min(max(said["lease"], 0.1), _LONGEST):
            return "", number + 1
        return said["by"], 0

    def _is_alone(self, key: str, number: int) -> bool:
        """Whether the claim just made is the only one, but for a dead one, which is then removed."""
        with self._lock:
            seen = self._seen.get(key)
        dead = seen.number if seen and seen.number < number else 0
        others = set(self._numbers(key)) - {number}
        if others - {dead}:
            return False
        if dead in others:
            self._store.remove(self._path(key, dead))
        return True

    def _numbers(self, key: str) -> list[int]:
        names = self._store.names(self._store.place(FOLDER, key[:2]))
        found = [name.removeprefix(f"{key}.") for name in names if name.startswith(f"{key}.")]
        return sorted(int(number) for number in found if number.isdecimal())

    def _path(self, key: str, number: int) -> str:
        return self._store.place(FOLDER, key[:2], f"{key}.{number}")

    def _content(self, held: _Held, title: str = "") -> bytes:
        said = {"by": self._who, "lease": self._lease, "beat": held.beat, "token": held.token, "what": title}
        return json.dumps(said).encode()

    def give_back(self, key: str) -> None:
        """The result is in the remote, or nobody makes it any more."""
        with self._lock:
            held = self._held.pop(key, None)
            self._watched.pop(key, None)
        if held:
            try:
                # one that was taken over meanwhile is another's, or gone
                if self._is_ours(held):
                    self._store.remove(held.path)
            except Exception as error:  # every file system has errors of its own
                self._say(f"a claim could not be given back, and ends in {self._lease:g} s: {told(error)}")

    def freed(self) -> set[str]:
        """Keys that were found taken and may be had now; each is told once."""
        with self._lock:
            freed, self._freed = self._freed, set()
            for key in freed:
                self._watched.pop(key, None)
        return freed

    def close(self) -> None:
        """Give everything back."""
        self._ended.set()
        if self._keeper:
            self._keeper.join(self._lease)  # it may hang in a call of the remote's
        for key in list(self._held):
            self.give_back(key)

    def abandon(self) -> None:
        """Keep nothing any more and give nothing back, as a process does that is killed: the leases run out."""
        self._ended.set()
        if self._keeper:
            self._keeper.join(self._lease)

    def renew(self, key: str) -> None:
        """Renew a claim of this process's now, if it has that one."""
        with self._lock:
            held = self._held.get(key)
        if held:
            self._renew(key, held)

    # -- the keeper

    def _keep(self) -> None:
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._go, name="claims", daemon=True)
            self._keeper.start()

    def _go(self) -> None:
        while not self._ended.wait(min(_POLL_SECONDS, self._lease / _RENEWALS)):
            with self._lock:
                due = time.monotonic() - self._lease / _RENEWALS
                held = {key: one for key, one in self._held.items() if one.renewed <= due}
                watched = dict(self._watched)
            for key, one in held.items():
                self._renew(key, one)
            for key in watched:
                self._look(key)

    def _renew(self, key: str, held: _Held) -> None:
        try:
            if self._is_ours(held):
                held.beat += 1
                self._store.write(held.path, self._content(held))
                held.renewed, held.told = time.monotonic(), False
                return
            why = "another took it over, since this machine was silent for too long"
            with self._lock:
                self._held.pop(key, None)
        except Exception as error:  # every file system has errors of its own
            if time.monotonic() - held.renewed < self._lease:
                return  # there is time to try again
            why = f"it cannot be renewed: {told(error)}"
        if not held.told:
            held.told = True
            self._say(f"a claim was lost, so the same may be run elsewhere as well: {why}")

    def _is_ours(self, held: _Held) -> bool:
        content = self._store.read(held.path)
        return content is not None and _parsed(content)["token"] in (held.token, "")

    def _look(self, key: str) -> None:
        try:
            holder, _ = self._holder(key)
        except Exception:  # every file system has errors of its own; what cannot be seen is looked for again
            return
        if not holder:
            with self._lock:
                self._freed.add(key)
            self._changed()


def _parsed(content: bytes) -> dict[str, Any]:
    """What a claim says; it may be cut short, or anybody's."""
    said: Any = {}
    with contextlib.suppress(ValueError):
        said = json.loads(content)
    said = said if isinstance(said, dict) else {}
    lease, by, token = said.get("lease"), said.get("by"), said.get("token")
    return {
        "lease": float(lease) if isinstance(lease, int | float) and 0 < lease < math.inf else LEASE_SECONDS,
        "by": by if isinstance(by, str) and by.isprintable() and by else "another run",
        "token": token if isinstance(token, str) else "",
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
