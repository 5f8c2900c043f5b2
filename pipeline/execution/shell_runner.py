"""Runs the commands of stages that are no recipe's by the user's shell, as DVC does, each in its own process group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from recast.pipeline.core.errors import Interrupted, StageFailed
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Changed, Show, State
from recast.pipeline.execution.task import Task
from recast.pipeline.processes.stage_logs import TAIL_LINES, new_log
from recast.pipeline.processes.watchdog import Watchdog

# seconds a command has to end after it was asked to
_GRACE = 3.0


class ShellRunner:
    """The executor's runner for a plain DVC repository."""

    def __init__(self, root: Path, timeout: float | None = None) -> None:
        self.root = root
        self.timeout = timeout
        self._watchdog = Watchdog()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def task(self, step: Step) -> Task:
        """DVC knows of no resources: one thread is assumed."""
        return Task(step.name)

    def is_as_before(self, step: Step) -> bool:
        """Always: the commands are in dvc.yaml, which was read once."""
        return True

    def records(self, step: Step) -> bool:
        """Always."""
        return True

    def held(self, step: Step) -> Mapping[str, int]:
        """Nobody knows when a command reads what."""
        return {}

    def prepare(self, step: Step) -> None:
        """A shell starts at once."""

    def expect(self, steps: Sequence[Step], show: Show) -> None:
        """It needs nothing made ready."""

    def ended(self, step: Step) -> None:
        """Nothing is kept for it."""

    def is_elsewhere(self, step: Step) -> bool:
        """All run here."""
        return False

    def hand_over(self, step: Step, key: str, reads: dict[str, str], entries: dict[str, dict[str, Any]]) -> None:
        """Never asked for."""
        raise NotImplementedError

    def run(self, step: Step, gpus: Sequence[str], show: Show) -> float | None:
        """Run the step's commands one after the other, their output going to its log."""
        log = new_log(self.root, step.name.replace("/", "-").replace(":", "-"))
        shown = log.relative_to(self.root).as_posix()
        show(Changed(step.name, State.RUNNING, log=shown))
        calls = [shell_call(command) for command in step.commands]
        variables = stage_variables(self.root, step.name)
        if gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        ends = None if self.timeout is None else time.monotonic() + self.timeout
        with log.open("ab") as file:
            for command, call in zip(step.commands, calls, strict=True):
                file.write(f"> {command}\n".encode())
                file.flush()
                process = self._start(call, cwd=step.folder, env=variables, log=file)
                code = self._wait(process, ends)
                if self._stopped:
                    raise Interrupted(f"stage '{step.name}' was stopped")
                if code is None:
                    raise StageFailed(
                        f"stage '{step.name}' failed: took longer than {self.timeout:g} s", "raise --timeout", log=shown
                    )
                if code:
                    reason = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
                    message = f"stage '{step.name}' failed: '{command}' {reason}"
                    raise StageFailed(message, "its log says more", log=shown, tail=_tail(log))
        return None

    def _start(self, call: list[str], *, cwd: str, env: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise Interrupted("the run was stopped")
            self._watchdog.start()
            process = subprocess.Popen(
                call, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            self._running.add(process)
            self._watchdog.began(process.pid)
            return process

    def _wait(self, process: subprocess.Popen[bytes], ends: float | None) -> int | None:
        """The exit code; None if time ran out. No process of the group is left."""
        try:
            return process.wait(None if ends is None else max(0.0, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._end(process)
            return None
        finally:
            # what the command left running in the background would write into outputs that are being hashed
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with self._lock:
                self._running.discard(process)
                self._watchdog.ended(process.pid)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self) -> None:
        """Ask every running command to end, and kill those that do not."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline and any(process.returncode is None for process in running):
            time.sleep(0.02)
        for process in running:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Stop what runs and the process that watches over it."""
        self.stop()
        self._watchdog.close()


def _tail(log: Path) -> tuple[str, ...]:
    with log.open(encoding="utf-8", errors="replace") as file:
        return tuple(line.rstrip() for line in deque(file, maxlen=TAIL_LINES))


def shell_call(command: str) -> list[str]:
    """The argument list by which DVC has the user's shell run a command, on systems that have one."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    name = Path(shell).name.lower()
    if name == "fish":
        from dvc.stage.run import _make_cmd  # which asks it for its version

        found: list[str] = _make_cmd(shell, command)
        return found
    return [shell, *_NO_PROFILES.get(name, ()), "-c", command]


_NO_PROFILES = {"zsh": ("--no-rcs",), "bash": ("--noprofile", "--norc")}


def stage_variables(root: Path, name: str) -> dict[str, str]:
    """The environment that DVC gives the commands of the stage it addresses by that name."""
    variables = os.environ.copy()
    if "PYENV_DIR" in variables:
        from dvc.utils import fix_env  # it takes pyenv's own folders out of PATH

        variables = fix_env(variables)
    return {"DVC_ROOT": str(root), **variables, "DVC_STAGE": name}
