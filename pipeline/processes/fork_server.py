"""The process that keeps an environment's packages imported and forks a fresh worker for each stage.

`python -m recast.pipeline.processes.fork_server MODULE ...`, with a socket to the runner as standard input. It imports
the modules, says it is ready, and then forks one child for each request; the request carries the two
ends of pipes that become the child's standard input and its output. The child then runs
`stage_process` as a cold process would: what it imports of the repository it reads from disk anew.

It speaks lines of JSON: `{"ready": true}` or `{"failed": why}` once; `{"started": pid}` or
`{"refused": why}` for each request; `{"ended": pid, "code": code}` for each child. It ends, and its
children with it, when the socket closes: the runner is gone. It has no thread of its own, since a
fork copies only the thread that forks.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from itertools import accumulate
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

REQUEST = b"\n"


def main(modules: list[str]) -> None:
    """Preload the modules, then fork a worker per request until the runner goes."""
    # only this process may hold the socket: its closing is what everything else is told by
    runner = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        with _ended_with(runner):
            failure = _preload(modules)
        if failure:
            _say(runner, failed=failure)
            return
        # what is here now stays: collecting it would copy every page of it into each child
        gc.collect()
        gc.freeze()
        _serve(runner)


@contextlib.contextmanager
def _ended_with(runner: socket.socket) -> Iterator[None]:
    """End when the runner goes, whatever is done meanwhile: imports take seconds, on a busy machine half a minute.

    The system tells by a signal, since there is no thread that could look.
    """

    def look(number: int = 0, frame: FrameType | None = None) -> None:
        try:
            if not runner.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                os._exit(0)
        except BlockingIOError:
            pass
        except ConnectionResetError:
            os._exit(0)

    usual = signal.signal(signal.SIGIO, look)
    flags = fcntl.fcntl(runner, fcntl.F_GETFL)
    fcntl.fcntl(runner, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(runner, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        look()  # it may have gone before
        yield
    finally:
        fcntl.fcntl(runner, fcntl.F_SETFL, flags)
        signal.signal(signal.SIGIO, usual)


def _preload(modules: list[str]) -> str:
    """Import each module; why that is not possible, or nothing."""
    for name in modules:
        try:
            importlib.import_module(name)
        # a package may raise anything while it is imported
        except BaseException as error:
            traceback.print_exc()
            return f"{name}: {type(error).__name__}: {error}"
    if stale := _of_the_repository():
        return f"{', '.join(stale)}: of the repository, so a change of it would not be seen"
    return ""


def _of_the_repository() -> list[str]:
    """Modules that were loaded from the repository, but for the server itself and what is built below `.recast`."""
    root = Path.cwd()
    # the server itself has two names, once multiprocessing is there
    packages = accumulate(str(__spec__.parent).split("."), "{}.{}".format) if __spec__ else ()
    own = (sys.modules["__main__"], *(sys.modules[name] for name in packages))
    found = []
    for name, module in list(sys.modules.items()):
        path = Path(getattr(module, "__file__", None) or "/")
        if module not in own and path.is_relative_to(root):
            top = path.relative_to(root).parts[0]
            if not top.startswith("."):
                found.append(name)
    return sorted(found)


def _serve(runner: socket.socket) -> None:
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)  # without a handler nothing wakes the wait below
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    running: set[int] = set()
    try:
        _say(runner, ready=True)
        while True:
            readable, _, _ = select.select([runner.fileno(), woken], [], [])
            if woken in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
                for pid, code in _reap(running).items():
                    _say(runner, ended=pid, code=code)
            if runner.fileno() in readable:
                data, pipes, _, _ = socket.recv_fds(runner, len(REQUEST), 2)
                if not data:
                    return
                _start(runner, pipes, (woken, wake), running)
    finally:
        _stop(running)


def _start(runner: socket.socket, pipes: list[int], own: tuple[int, int], running: set[int]) -> None:
    try:
        if len(pipes) != 2:
            raise OSError("the worker's pipes did not arrive: too many files are open")
        pid = os.fork()
        if pid == 0:
            _become_worker(runner, pipes, own)
    except OSError as error:
        _say(runner, refused=str(error))
    else:
        running.add(pid)
        _say(runner, started=pid)
    finally:
        # the worker sees its input end, and the runner its output, only if nobody else holds them
        for pipe in pipes:
            os.close(pipe)


def _become_worker(runner: socket.socket, pipes: list[int], own: tuple[int, int]) -> NoReturn:
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        runner.close()
        source, sink = pipes
        for pipe, standard in ((source, 0), (sink, 1), (sink, 2)):
            os.dup2(pipe, standard)
        for number in (*pipes, *own):
            os.close(number)
        if random := sys.modules.get("numpy.random"):
            random.seed()  # from the system, as in a process that imports it itself; `random` does so by itself
        importlib.invalidate_caches()
        _run_as_main("recast.pipeline.processes.stage_process")
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)  # the worker ends itself; coming here is a failure


def _run_as_main(name: str) -> None:
    """What `python -m name` does, with nothing left of the module that is `__main__` now."""
    spec = importlib.util.find_spec(name)
    assert spec and spec.origin and isinstance(spec.loader, SourceFileLoader)
    module = ModuleType("__main__")
    module.__dict__.update(__spec__=spec, __file__=spec.origin, __loader__=spec.loader, __package__=spec.parent)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    sys.argv = [spec.origin]
    code = spec.loader.get_code(name)
    assert code
    exec(code, module.__dict__)


def _reap(running: set[int]) -> dict[int, int]:
    """Exit codes of the children that have ended, negative for a signal; they leave `running`."""
    ended = {}
    for pid in sorted(running):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
    running.difference_update(ended)
    return ended


def _stop(running: set[int]) -> None:
    for pid in running:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(pid, signal.SIGKILL)  # it has not yet come to lead a group of its own


def _say(runner: socket.socket, **message: Any) -> None:
    runner.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    preloaded, sys.argv[1:] = sys.argv[1:], []
    main(preloaded)
    # vendors' exit hooks have been seen to hang or crash after the work is done
    os._exit(0)
