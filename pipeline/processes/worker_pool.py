"""The processes stages run in: cold ones, and warm ones forked from a server that has the packages imported.

Importing PyTorch or TensorFlow takes seconds. So one server per environment, thread budget and GPUs
imports what the environment's pin file says (`# preload:`) once per run, and forks a process for each
stage. That process has the state of a fresh one: nothing of one stage reaches the next.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from recast.pipeline.core.errors import Interrupted, RecastError
from recast.pipeline.core.layout import PINS, import_folder
from recast.pipeline.processes.environment import Environment
from recast.pipeline.processes.fork_server import REQUEST
from recast.pipeline.processes.tool_variables import tool_variables

SERVER_LOGS = ".recast/logs/workers"
SERVER_LOG_BYTES = 200_000
GRACE_SECONDS = 3.0

# every library that starts threads of its own reads one of these when it is loaded
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


class WorkerLost(RecastError):
    """The server that forked a worker is gone, so how the worker ended is unknown."""


class WorkerProcess:
    """One stage's process, which leads a process group of its own; cold or forked makes no difference to its user."""

    def __init__(
        self, pid: int, stdin: IO[str], stdout: IO[str], ended: Callable[[float | None], int | None], server: int | None
    ) -> None:
        self.pid = pid
        self.stdin = stdin
        """takes the job; its closing tells the process that the runner is gone"""
        self.stdout = stdout
        """what the process writes, errors included"""
        self.server = server
        """pid of the server it was forked from; None for a cold one"""
        self.interrupted = False
        """whether it was stopped by `Workers.close`"""
        self._ended = ended

    def wait(self) -> int:
        """The exit code, once it has ended; negative for a signal. Raises WorkerLost if that cannot be known."""
        code = self._ended(None)
        assert code is not None
        return code

    def stop(self) -> None:
        """End the process and all it has started, first by TERM, after three seconds by KILL.

        May be called at any time from any thread; does nothing where all has ended.
        """
        _end_groups([self])

    def close(self) -> None:
        """Stop it and close its streams; only by the thread that reads them."""
        self.stop()
        for stream in (self.stdin, self.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def send(self, number: int) -> bool:
        """Send a signal to the group; False if nothing is left of it. Signal 0 only asks."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return self._send_alone(number)
        return True

    def has_ended(self) -> bool:
        """Whether the process itself has ended, whatever is left of its group."""
        try:
            return self._ended(0) is not None
        except WorkerLost:
            return True

    def _send_alone(self, number: int) -> bool:
        """Just after a fork it does not lead its group yet."""
        if self.has_ended():
            return False
        try:
            os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def _end_groups(processes: Sequence[WorkerProcess]) -> None:
    left = [process for process in processes if process.send(signal.SIGTERM)]
    deadline = time.monotonic() + GRACE_SECONDS
    pause = 0.001
    while left and time.monotonic() < deadline:
        # asking first whether it ended also takes its exit code; a zombie would count as a living group
        left = [process for process in left if not process.has_ended() or process.send(0)]
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    for process in left:
        process.send(signal.SIGKILL)
    for process in left:
        with contextlib.suppress(WorkerLost):
            process.wait()


class Workers:
    """Starts the processes of a run's stages and ends them all with it. Safe to use from several threads."""

    def __init__(self, root: Path, *, warm: bool = True) -> None:
        """`warm=False`: every process is a cold one."""
        self._root = root
        self._warm = warm
        self._lock = threading.Lock()
        self._closed = False
        self._servers: dict[object, _Server] = {}
        self._running: set[WorkerProcess] = set()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def prepare(self, environment: Environment, threads: int, gpus: Sequence[str] = ()) -> None:
        """Begin to import what such processes need; does not wait for it."""
        if self._warm and environment.preload:
            self._server(environment, worker_variables(self._root, threads, gpus))

    def start(
        self, environment: Environment, threads: int, gpus: Sequence[str] = (), *, isolated: bool = False
    ) -> WorkerProcess:
        """A process of that environment that waits for its job; the caller must `release` it.

        `gpus`: ids as CUDA_VISIBLE_DEVICES takes them; all are visible if none is named. `isolated`: not
        forked from a warm process. Raises RecastError if the environment's packages cannot be
        preloaded, and Interrupted once this is closed.
        """
        variables = worker_variables(self._root, threads, gpus)
        if self._warm and environment.preload and not isolated:
            process = self._start_warm(environment, variables)
        else:
            process = _start_cold(self._root, environment, variables)
        with self._lock:
            if not self._closed:
                self._running.add(process)
                return process
        process.close()
        raise _interrupted()

    def release(self, process: WorkerProcess) -> None:
        """The stage is done with its process: what is left of it ends. By the thread that reads its output."""
        process.close()
        with self._lock:
            self._running.discard(process)

    def close(self) -> None:
        """End every process that still runs, and every server; whoever reads from one sees its end.

        May be called from any thread. What is released afterwards is released as always.
        """
        with self._lock:
            self._closed = True
            running, servers = list(self._running), list(self._servers.values())
            self._servers.clear()
        for process in running:
            process.interrupted = True
        _end_groups(running)
        for server in servers:
            server.close()

    def _start_warm(self, environment: Environment, variables: Mapping[str, str]) -> WorkerProcess:
        try:
            return self._server(environment, variables).start()
        except WorkerLost:
            # nothing of the stage was begun yet, so another server may do it
            return self._server(environment, variables).start()

    def _server(self, environment: Environment, variables: Mapping[str, str]) -> _Server:
        # whatever makes two cold processes differ at their start needs two servers
        key = (environment.directory, environment.preload, frozenset(variables.items()))
        with self._lock:
            if self._closed:
                raise _interrupted()
            server = self._servers.get(key)
            if server is None or server.is_lost:
                server = self._servers[key] = _Server(self._root, environment, variables)
            return server


def _interrupted() -> Interrupted:
    return Interrupted("the run was stopped before this stage began")


def worker_variables(root: Path, threads: int, gpus: Sequence[str] = ()) -> dict[str, str]:
    """A process's environment variables: tools' switches, thread budget, GPUs, and nothing of the caller's Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    budget = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    if gpus:
        budget["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    return {
        **kept,
        **tool_variables(root),
        **budget,
        "TF_NUM_INTEROP_THREADS": "1",
        # waiting threads that spin for long starve a busy machine (a training step took 172 ms, 124 ms so);
        # on an idle one this costs nothing measurable, while not spinning at all took 45 % more
        "GOMP_SPINCOUNT": "20000",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONPATH": os.pathsep.join([str(import_folder(root)), str(root)]),
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def _start_cold(root: Path, environment: Environment, variables: Mapping[str, str]) -> WorkerProcess:
    process = subprocess.Popen(
        [str(environment.python), "-P", "-m", "recast.pipeline.processes.stage_process"],
        cwd=root,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # its whole group can then be stopped, whatever it has started
    )

    def ended(timeout: float | None) -> int | None:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    assert process.stdin and process.stdout
    return WorkerProcess(process.pid, process.stdin, process.stdout, ended, None)


@dataclass
class _Child:
    """A forked process and, once the server has said it, its exit code."""

    pid: int
    code: int | None = None


class _Server:
    """One running `recast.pipeline.processes.fork_server`, as the runner sees it."""

    def __init__(self, root: Path, environment: Environment, variables: Mapping[str, str]) -> None:
        self._name = environment.name
        self._log = _server_log(root, environment.name)
        self._shown_log = self._log.relative_to(root).as_posix()
        self._socket, theirs = socket.socketpair()
        with theirs, self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(environment.python), "-P", "-m", "recast.pipeline.processes.fork_server", *environment.preload],
                cwd=root,
                env=variables,
                stdin=theirs.fileno(),
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the runner, which then closes this
            )
        self._asking = threading.Lock()
        """one request at a time: the next answer belongs to it"""
        self._news = threading.Condition()
        self._ready = self._gone = False
        self._failure = self._refusal = ""
        self._newest: _Child | None = None
        self._children: dict[int, _Child] = {}
        self._listener = threading.Thread(target=self._listen, name=f"workers of {self._name}", daemon=True)
        self._listener.start()

    @property
    def is_lost(self) -> bool:
        """Whether another server should take its place; one that cannot preload would fail again."""
        return self._gone and not self._failure

    def start(self) -> WorkerProcess:
        """A forked process. Raises WorkerLost if the server goes before there is one."""
        with self._asking:
            self._await(lambda: self._ready)
            with _pipe() as (source, stdin), _pipe() as (stdout, sink):
                self._newest, self._refusal = None, ""
                # if the server has just gone, the listener is about to see it, and how
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    socket.send_fds(self._socket, [REQUEST], [source, sink])
                self._await(lambda: self._newest or self._refusal)
                if self._newest is None:
                    raise RecastError(
                        f"no process can be forked for the environment '{self._name}': {self._refusal}",
                        "run fewer stages at once, or close other programs",
                    )
                child = self._newest
                writer = os.fdopen(os.dup(stdin), "w", encoding="utf-8")
                reader = os.fdopen(os.dup(stdout), encoding="utf-8", errors="replace")
        return WorkerProcess(child.pid, writer, reader, partial(self._ended, child), self._process.pid)

    def close(self) -> None:
        """End the server, and whatever it has forked that still runs."""
        # not only by closing the socket: while it preloads, it looks there between two steps of Python's
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._listener.join()

    def _await(self, come: Callable[[], object]) -> None:
        with self._news:
            self._news.wait_for(lambda: come() or self._gone)
            if self._failure:
                pins = f"{PINS}/{self._name}"
                raise RecastError(
                    f"the environment '{self._name}' cannot preload {self._failure}",
                    f"correct '# preload:' at the head of {pins}.in and {pins}.txt; its log: {self._shown_log}",
                )
            if self._gone:  # even if it has come: nothing was begun yet, and another server can do it
                raise self._loss()

    def _ended(self, child: _Child, timeout: float | None) -> int | None:
        with self._news:
            self._news.wait_for(lambda: child.code is not None or self._gone, timeout)
            if child.code is None and self._gone:
                raise self._loss()
            return child.code

    def _loss(self) -> WorkerLost:
        code = self._process.poll()
        how = "closed its connection" if code is None else describe_exit(code)
        return WorkerLost(
            f"the process that holds the packages of the environment '{self._name}' {how}",
            f"run the command again; its log: {self._shown_log}",
        )

    def _listen(self) -> None:
        with contextlib.suppress(OSError), self._socket.makefile(encoding="utf-8") as lines:
            for line in lines:
                self._take(json.loads(line))
        # nobody can say any more how these end, so they are not left to go on
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        with self._news:
            self._gone = True
            self._news.notify_all()
        with self._asking:  # whoever asks has been told; only now may the socket's number be used anew
            self._socket.close()

    def _take(self, said: Mapping[str, Any]) -> None:
        with self._news:
            if "ready" in said:
                self._ready = True
            elif "failed" in said:
                self._failure = said["failed"]
            elif "started" in said:
                self._newest = self._children[said["started"]] = _Child(said["started"])
            elif "refused" in said:
                self._refusal = said["refused"]
            elif "ended" in said:
                self._children.pop(said["ended"]).code = said["code"]
            self._news.notify_all()


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends, to read from and to write to; both are closed at the end."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def _server_log(root: Path, name: str) -> Path:
    path = root / SERVER_LOGS / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > SERVER_LOG_BYTES:
        path.unlink()
    return path


def describe_exit(code: int) -> str:
    """What became of a process that ended with this code."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
