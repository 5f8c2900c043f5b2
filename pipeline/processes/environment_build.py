"""Builds an environment with uv: beside its place and renamed into it, so that half a one is never used."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from recast.pipeline.core.errors import EnvironmentNotBuilt, RecastError
from recast.pipeline.core.pins import constraints
from recast.pipeline.processes.environment import Environment
from recast.pipeline.processes.stage_logs import TAIL_LINES
from recast.pipeline.processes.uv import find_uv, index_options
from recast.pipeline.processes.watchdog import Watchdog

_POLL_SECONDS = 0.1
_NETWORK = "check the network and the package index ('pip config list'), then run the command again"
# what of uv's words -> the remedy
_REMEDIES = (
    (
        re.compile(r"hash mismatch", re.IGNORECASE),
        "the package index gives another file than PyPI has: use one that gives PyPI's, or, if you trust that one, set "
        "UV_NO_VERIFY_HASHES=1",
    ),
    (
        re.compile(r"no space left|quota exceeded|os error (28|122)\b", re.IGNORECASE),
        "free space there and in uv's cache, or set RECAST_HOME and UV_CACHE_DIR to folders with more",
    ),
    (
        re.compile(r"read-only file system|permission denied|os error (13|30)\b", re.IGNORECASE),
        "uv must be able to write its cache: set UV_CACHE_DIR to a folder that can be written",
    ),
)


LEFT_OVER = re.compile(r"\.(building|leaving)-[0-9a-f]{8}$")
"""how the name of a folder goes on that is no environment yet, or no more"""


def left_overs(folder: Path, name: str = "*") -> list[Path]:
    """What builds and deletions of environments have left there; of one that goes on, only its lock tells."""
    return [path for path in folder.glob(f"{name}.*") if LEFT_OVER.search(path.name)]


def build(
    environment: Environment, log: Path, shown_log: str, waits: Callable[[], None], *, compiled: bool = True
) -> None:
    """Build it and put it in place; only by the process that has its lock. What uv says goes to the log.

    Most of the time goes into its bytecode; without `compiled` that is left to `compile_all`.
    `waits` is called again and again, and may raise to give up: uv and all it has started are then killed. So they are
    if this process is. Raises EnvironmentNotBuilt.
    """
    folder = environment.directory.parent
    for left_over in left_overs(folder, environment.directory.name):
        shutil.rmtree(left_over, ignore_errors=True)
    # a name of its own: a killed run's uv may live for a moment longer
    building = environment.directory.with_name(f"{environment.directory.name}.building-{secrets.token_hex(4)}")
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        _make(environment, building)
        waits()
        options = index_options(os.environ)
        install = [find_uv(), "pip", "install", "--no-config", "--python", str(building / "bin" / "python")]
        install += ["--requirements", str(environment.pins), *constraints(environment.pins), *options.arguments]
        if compiled:
            install.append("--compile-bytecode")
        if environment.torch_backend != "auto":
            # the pins are a full lock; torch's CUDA packages are wanted only where a GPU was asked for
            install.append("--no-deps")
        if environment.base:
            _put_on_top(building, environment.base)
            install += ["--only-binary", ":all:"]
        if environment.torch_backend and not options.has_find_links:
            install += ["--torch-backend", environment.torch_backend]
        install.append("--quiet")  # nobody reads uv's list of packages; what fails it says all the same
        if code := _run(install, {**os.environ, **options.variables}, log, waits):
            raise _not_built(environment, code, log, shown_log)
        if compiled:
            (building / environment.compiled.name).touch()
        if environment.directory.exists():
            remove(environment.directory)  # its Python has gone
        building.rename(environment.directory)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _put_on_top(building: Path, base: Environment) -> None:
    """Have the environment find the packages of another one, which lies beside it, behind its own."""
    (own,) = building.glob("lib/python*/site-packages")
    # by the way from here to there: the folder of both may be reached by several paths, and be moved
    up = [".."] * len(own.relative_to(building.parent).parts)
    to_base = Path(*up, base.directory.name, own.relative_to(building))
    # as `site` does for its own folders: those of the other one may hold such files too
    line = f"import os, site; site.addsitedir(os.path.join(sitedir, {to_base.as_posix()!r}))\n"
    (own / "_recast_base.pth").write_text(line, encoding="utf-8")


def compile_all(environment: Environment, waits: Callable[[], None], *, beside: bool) -> None:
    """Compile the bytecode of one that was built without; only by who has its lock.

    Stages never write any. Cut short by `waits`, what is done is done. `beside` whatever uses it, it makes way: half of
    the cores, and those when nobody wants them. On a busy machine that may never end, so not where it is waited for.
    """
    cores = os.cpu_count() or 1
    jobs = str(max(1, cores // 2) if beside else cores)
    polite = ["nice", "-n", "19"] if beside else []
    command = [*polite, str(environment.python), "-m", "compileall", "-qq", "-j", jobs]
    # 1 for a file that is no Python of this version: packages hold such ones for their tests
    if _run([*command, str(environment.directory / "lib")], os.environ, Path(os.devnull), waits, last=beside) in (0, 1):
        environment.compiled.touch()


def remove(directory: Path) -> None:
    """Delete an environment; cut short, it leaves what nobody takes for one."""
    leaving = directory.with_name(f"{directory.name}.leaving-{secrets.token_hex(4)}")
    directory.rename(leaving)
    shutil.rmtree(leaving)


def _make(environment: Environment, place: Path) -> None:
    version = environment.python_version
    interpreter = sys.executable if version == f"{sys.version_info.major}.{sys.version_info.minor}" else version
    command = [find_uv(), "venv", "--quiet", "--no-project", "--no-config", "--relocatable", "--no-python-downloads"]
    made = subprocess.run(
        [*command, "--python", interpreter, str(place)], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if not made.returncode:
        return
    said = made.stderr.strip()
    for pattern, remedy in _REMEDIES:
        if pattern.search(said):
            raise RecastError(
                f"the environment '{environment.name}' could not be made in {place.parent}: {said}", remedy
            )
    raise RecastError(
        f"the environment '{environment.name}' needs Python {version}: {said}",
        f"install it, for example with 'uv python install {version}'",
    )


def _run(
    command: list[str], variables: Mapping[str, str], log: Path, waits: Callable[[], None], *, last: bool = False
) -> int:
    """The command's exit code; `last`: with what other sessions leave of the cores."""
    watchdog = Watchdog()
    watchdog.start()
    try:
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=variables, start_new_session=True
            )
        watchdog.began(process.pid)
        if last:
            # Linux may share the cores among sessions first: then `nice` counts only within this one
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/autogroup").write_text("19")
        try:
            while True:
                waits()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(_POLL_SECONDS)
        finally:
            # itself, if it was not waited for to its end, and whatever it started
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            watchdog.ended(process.pid)
    finally:
        watchdog.close()


def _not_built(environment: Environment, code: int, log: Path, shown_log: str) -> EnvironmentNotBuilt:
    with log.open(encoding="utf-8", errors="replace") as file:
        tail = tuple(line.rstrip() for line in deque(file, maxlen=TAIL_LINES))
    said = "\n".join(tail)
    remedy = next((remedy for pattern, remedy in _REMEDIES if pattern.search(said)), _NETWORK)
    place = environment.directory.parent
    message = f"the environment '{environment.name}' could not be installed in {place} (uv ended with {code})"
    return EnvironmentNotBuilt(message, remedy, shown_log, tail)
