"""Call EZKL's functions, each in a process of its own: they may hang, panic, abort, and keep Python's lock.

What they print goes to the stage's log. A call that uses no processor time for a minute is taken to hang, as `prove`
does for ever when a value is out of the range of a lookup.
"""

from __future__ import annotations

import collections
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from recast.stages.base import StageError, progress
from recast.stages.common.machine_memory import GIB
from recast.stages.targets.ezkl.process import call_process

IDLE_SECONDS = 60.0
"""without processor time, after which a call is taken to hang"""
POLL_SECONDS = 0.05
TAIL_LINES = 200
"""what Rust prints of a crash: its message, and below it where it happened"""
_INSIDE = re.compile(r"^(Failed to [a-z ]+: )?(\[\w+\] )+")
"""what EZKL's messages begin with: of its own parts, and that they failed"""


@dataclass(frozen=True)
class Call:
    """One function of EZKL with its arguments; `keep` names the entries of a returned table that are wanted."""

    function: str
    arguments: Mapping[str, Any]
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the calls of one process gave, what time it took, and the most memory it held."""

    values: list[Any]
    seconds: float
    cpu_seconds: float
    """of processor time, of all its threads"""
    peak_bytes: int


@dataclass(frozen=True)
class TimeLimits:
    """How long calls in one process may take, in seconds."""

    expected: float = 10.0
    """what progress is measured by"""
    timeout: float | None = None
    """the limit; None: twenty times as long as expected, and ten minutes at least"""
    idle: float | None = IDLE_SECONDS
    """without processor time; None for what waits for others"""

    @property
    def longest(self) -> float:
        """The time limit."""
        return self.timeout or max(600.0, 20 * self.expected)


USUAL = TimeLimits()


class EzklError(StageError):
    """EZKL refused, panicked, was killed or hung; `kind` says which, `said` is its own message."""

    def __init__(self, message: str, remedy: str | Sequence[str], kind: str, said: str = "") -> None:
        super().__init__(message, *([remedy] if isinstance(remedy, str) else remedy))
        self.kind, self.said = kind, said


class Ezkl:
    """EZKL on this machine. A call that fails raises EzklError, never anything else."""

    def __init__(self, place: Path, threads: int, memory_gib: float | None = None, log: IO[str] | None = None) -> None:
        """`place`: a folder of the caller's, for what EZKL reads and writes.

        What it prints goes to `log`, or to standard error, which is the log of a stage.
        """
        self.place, self.home = place, place / "ezkl-home"
        self.home.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._threads, self._memory = threads, None if memory_gib is None else int(memory_gib * GIB)

    def __call__(self, function: str, **arguments: Any) -> Answer:
        """One call, which should take no more than a few seconds."""
        return self.run([Call(function, arguments)], f"EZKL's {function}")

    def run(self, calls: Sequence[Call], what: str, limits: TimeLimits = USUAL, *, shown: str = "") -> Answer:
        """Several calls, one after the other, in one process; progress is told under the text `shown`."""
        with tempfile.TemporaryDirectory(dir=self.home) as folder:
            answer = Path(folder) / "answer.json"
            job = {
                "calls": [{"function": c.function, "arguments": dict(c.arguments), "keep": c.keep} for c in calls],
                "memory": self._memory,
                "parent": os.getpid(),
            }
            process, tail, reader = self._start(job, answer)
            started = time.monotonic()
            try:
                ended = _watch(process, limits, shown)
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()
                reader.join(timeout=5)
            seconds = time.monotonic() - started
            # written whole before the process ends, so what happened at its end does not matter
            if answer.exists():
                said = json.loads(answer.read_text(encoding="utf-8"))
                # a bound below what the library itself takes shows when it is loaded
                if self._memory and said.get("kind") in ("ImportError", "MemoryError"):
                    raise self._lacks_memory(what)
                return _read(said, seconds, what)
            raise self._ended(what, ended, process.returncode, tail, limits)

    def _start(
        self, job: Mapping[str, Any], answer: Path
    ) -> tuple[subprocess.Popen[str], collections.deque[str], threading.Thread]:
        variables = {
            **os.environ,
            "HOME": str(self.home),
            "EZKL_REPO_PATH": str(self.home / "ezkl"),
            "RAYON_NUM_THREADS": str(self._threads),
            "OMP_NUM_THREADS": str(self._threads),
        }
        command = [sys.executable, str(Path(call_process.__file__).resolve()), str(answer)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            env=variables,
            cwd=self.home,
            text=True,
            errors="replace",
        )
        tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        assert process.stdin and process.stdout
        reader = threading.Thread(target=_log, args=(process.stdout, tail, self._log or sys.stderr), daemon=True)
        reader.start()
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended before it read: its exit says why
        return process, tail, reader

    def _ended(self, what: str, ended: str, code: int, tail: Iterable[str], limits: TimeLimits) -> EzklError:
        if ended == "idle":
            return EzklError(
                f"{what} hung: it used no processor time for {limits.idle:g} s, as it does when a value is out of the "
                "range of a lookup",
                "raise calibrate.lookup_safety_margin, or calibrate on samples that are more like this one",
                "hang",
            )
        if ended == "late":
            remedy = "raise the timeout, or make the circuit smaller"
            return EzklError(f"{what} took longer than {limits.longest:.0f} s", remedy, "timeout")
        lines = [line for line in tail if line.strip()]
        last = next((line for line in lines if "memory allocation" in line), lines[-1] if lines else "")
        said = f": {last.strip()}" if last else ""
        if "memory allocation" in last and self._memory:
            return self._lacks_memory(what)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        lack = code == -signal.SIGKILL
        remedy = "most likely the machine ran out of memory: set calibrate.max_logrows lower" if lack else "see the log"
        return EzklError(f"{what} {how}{said}", remedy, "killed", last)

    def _lacks_memory(self, what: str) -> EzklError:
        return EzklError(
            f"{what} needs more than the {(self._memory or 0) / GIB:.2g} GiB of memory it may use",
            "raise the memory limit, or set calibrate.max_logrows lower",
            "memory",
        )


def _log(stream: IO[str], tail: collections.deque[str], log: IO[str]) -> None:
    for line in stream:
        log.write(line if line.endswith("\n") else f"{line}\n")
        tail.append(line.rstrip())
    log.flush()


def _watch(process: subprocess.Popen[str], limits: TimeLimits, shown: str) -> str:
    """Wait for the end; '' if it came by itself, 'late' or 'idle' if it will not come."""
    started = worked = told = time.monotonic()
    used = 0.0
    # there are systems that do not tell what a process uses
    idle = limits.idle if Path("/proc/self/stat").exists() else None
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        now = time.monotonic()
        if now - started > limits.longest:
            return "late"
        if (used_now := _processor_seconds(process.pid)) > used:
            used, worked = used_now, now
        if idle is not None and now - worked > idle:
            return "idle"
        if shown and now - told > 1:
            told = now
            expected = int(limits.expected)
            progress(f"{shown}, about {limits.expected:.0f} s", min(int(now - started), expected), max(expected, 1))
    return ""


def _processor_seconds(process: int) -> float:
    """Of all its threads; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read(answer: Mapping[str, Any], seconds: float, what: str) -> Answer:
    if "error" not in answer:
        return Answer(answer["values"], seconds, answer["cpu_seconds"], answer["peak_bytes"])
    said = _INSIDE.sub("", " ".join(str(answer["error"]).split()))
    if answer["kind"] == "PanicException":
        remedy = "the keys, the circuit and the SRS may not belong together"
        if "settings" in what:  # there are no keys yet
            remedy = "change the layer at which EZKL fails; its log may say which"
        raise EzklError(f"{what} panicked: {said}", remedy, "panic", said)
    raise EzklError(f"{what} failed: {said}", "see the log for what it printed before", "refused", said)
