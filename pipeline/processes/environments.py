"""Finds the environments stages run in, one per pin file `envs/<name>.txt`, and has them built.

They lie in a folder that all repositories of a user share, as `envs/<name>-<hash>` in `layout.user_folder()`: a second
clone finds what the first has built. A file lock keeps two runs from building, or deleting, one at once.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from filelock import FileLock, Timeout

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import (
    DEVICE,
    DEVICES,
    OLD_ENVIRONMENTS,
    PINS,
    USER_FOLDER,
    environments_folder,
    user_folder,
)
from recast.pipeline.core.main_checkout import main_checkout
from recast.pipeline.core.pins import LOCKS, lock_of, pin_files, pinned, with_own
from recast.pipeline.processes import environment_use
from recast.pipeline.processes.environment import Environment
from recast.pipeline.processes.environment_build import LEFT_OVER, build, compile_all, left_overs, remove
from recast.pipeline.processes.stage_logs import LOGS
from recast.stages.common.spelling import did_you_mean

# `# python: 3.11`, `# size: 1.2 GB` and `# preload: torch onnx` in the head of a pin file
_HEADER = re.compile(r"^#\s*(python|size|preload):\s*(.+?)\s*$", re.MULTILINE)
_PRELOAD = re.compile(r"^#\s*preload:.*\n", re.MULTILINE)
_POLL_SECONDS = 0.2
_OWN = ("recast", "dask", "dev")  # pins of .venv itself, no stage runs there
_OF_A_CLONE = ("docs",)  # what the pages of this repository are made into a site with
# as in `x86_64-linux-gnu.so`: a home may be shared by machines of several kinds. The version of Python is in the pins
_PLATFORM = f"{EXTENSION_SUFFIXES[0].split('-', 2)[-1]} {os.uname().machine}"


def device(root: Path) -> str:
    """The device `device: auto` means here; written as `cpu` where nobody has chosen.

    A second checkout begins with the choice of the first, since it was made for the machine.
    """
    path = root / DEVICE
    if not path.exists():
        main = main_checkout(root)
        set_device(root, "cpu" if main == root else device(main))
    chosen = path.read_text(encoding="utf-8").strip()
    if chosen not in DEVICES:
        raise RecastError(f"{DEVICE} says '{chosen}', which is no device", f"write one of: {', '.join(DEVICES)}")
    return chosen


def set_device(root: Path, chosen: str) -> None:
    """Choose what `device: auto` means on this machine."""
    (root / DEVICE).write_text(f"{chosen}\n", encoding="utf-8")


def names(root: Path) -> tuple[str, ...]:
    """The environments that have a pin file, in the repository, Recast or a plugin, sorted."""
    pins = pin_files(root)
    return tuple(sorted(pins.keys() - {*_OWN, *(name for name in _OF_A_CLONE if not _is_of(root, pins.get(name)))}))


def _is_of(root: Path, pins: Path | None) -> bool:
    return pins is not None and pins.is_relative_to(root)


def wanted(root: Path) -> Iterator[Environment]:
    """The environments that this repository may need: those with a pin file, and such with packages of its own."""
    for name in names(root):
        yield find(root, name)
        for path in sorted((root / LOCKS).glob("*.txt")):
            if path.name.partition(".")[0] == name:
                own = find(root, with_own(name, path.name))
                if own.base:
                    yield own


def find(root: Path, name: str) -> Environment:
    """The environment of that name, built or not. Raises RecastError for an unknown name or a bad pin file."""
    base, lock = lock_of(name)
    found = _find(root, base)
    if lock is None:
        return found
    try:
        own = list(pinned((root / lock).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RecastError(
            f"no environment named '{name}': there is no {lock}", did_you_mean(name, names(root))
        ) from None
    if not own:
        return found
    key = hashlib.sha256("\n".join([found.directory.name, *own]).encode()).hexdigest()[:12]
    directory = found.directory.with_name(f"{base}-{key}")
    size = f"{len(own)} package{'' if len(own) == 1 else 's'} of {lock}"
    return replace(found, name=name, pins=root / lock, size=size, directory=directory, torch_backend=None, base=found)


def _find(root: Path, name: str) -> Environment:
    pins = pin_files(root).get(name)
    if pins is None or name in _OWN:
        raise RecastError(f"no environment named '{name}' in {PINS}/", did_you_mean(name, names(root)))
    text = pins.read_text(encoding="utf-8")
    header = dict(_HEADER.findall(text))
    if "python" not in header:
        raise RecastError(f"{PINS}/{name}.txt does not name its Python", "add a line '# python: 3.11' at its head")
    backend = None
    if re.search(r"^torch==", text, re.MULTILINE):
        # uv's `auto` looks for a GPU driver and takes the build that fits it
        backend = "auto" if device(root) == "cuda" else "cpu"
    # what is preloaded changes nothing of what is installed
    installed = _PRELOAD.sub("", text)
    key = hashlib.sha256(f"{installed}\n{backend}\n{_PLATFORM}".encode()).hexdigest()[:12]
    directory = environments_folder() / f"{name}-{key}"
    size, preload = header.get("size", "unknown size"), tuple(header.get("preload", "").split())
    return Environment(name, pins, header["python"], size, directory, backend, preload)


def ensure(
    root: Path,
    name: str,
    say: Callable[[str], None],
    waits: Callable[[], None] = lambda: None,
    *,
    compiled: bool = True,
) -> Environment:
    """The environment of that name, built now if it is not there yet; it stays until this process ends.

    It may lack bytecode without `compiled`, for who will `finish` it beside its use.
    `waits` is called again and again while it is built, by this process or another, and may raise to give up: nothing
    of the build is left then. Raises RecastError if it cannot be built.
    """
    environment = find(root, name)
    with _written_in(environment.directory.parent):
        for layer in environment.layers:
            if not environment_use.hold(layer):
                _build(root, layer, say, waits, compiled)
            elif compiled:
                finish(layer, say, waits)
            environment_use.note(root, layer)
    return environment


def log_of(environment: Environment) -> str:
    """The log of its build, relative to the repository that builds it."""
    return f"{LOGS}/environments/{environment.name}.log"


def finish(
    environment: Environment, say: Callable[[str], None], waits: Callable[[], None], *, beside: bool = False
) -> None:
    """Compile its bytecode, if a run has built it without; not if somebody else is at it, or it cannot be written.

    It makes way for others only `beside` what uses it: who waits for it must not wait for an idle machine.
    """
    for layer in environment.layers:
        if layer.compiled.exists() or not os.access(layer.directory, os.W_OK):
            continue
        with contextlib.suppress(Timeout), FileLock(_lock_of(layer.directory), timeout=0):
            say(f"compiling the environment '{layer.name}', once")
            compile_all(layer, waits, beside=beside)


def _lock_of(directory: Path) -> str:
    return f"{directory}.lock"


def _build(
    root: Path, environment: Environment, say: Callable[[str], None], waits: Callable[[], None], compiled: bool
) -> None:
    name = environment.name
    with _locked(
        environment.directory, lambda: say(f"waiting for another run that builds the environment '{name}'"), waits
    ):
        if environment_use.hold(environment):
            return
        environment_use.release(environment)
        when = "" if environment.base else f"; once per change of {PINS}/{name}.txt"
        say(f"building the environment '{name}' ({environment.size}{when})")
        started = time.monotonic()
        build(environment, root / log_of(environment), log_of(environment), waits, compiled=compiled)
        environment_use.hold(environment)
        say(f"built the environment '{name}' in {time.monotonic() - started:.0f} s")


@contextlib.contextmanager
def _locked(directory: Path, told: Callable[[], None], waits: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of whoever builds or deletes it; the system frees it when its holder ends, however that happens."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock_of(directory))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        told()
        while not lock.is_locked:
            waits()
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _written_in(folder: Path) -> Iterator[None]:
    """RecastError for what the system says against keeping environments there."""
    try:
        yield
    except BrokenPipeError:
        raise  # of the terminal
    except OSError as error:
        place, home = Path(error.filename or folder), user_folder()
        if not (place.is_relative_to(home) or home.is_relative_to(place)):
            raise
        remedy = f"set {USER_FOLDER} to a folder that can be written"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = f"free space, for example with 'recast env prune', or set {USER_FOLDER} to a folder with more"
        raise RecastError(f"environments are kept in {folder}: {error.strerror or error}", remedy) from error


def note_clone(root: Path) -> None:
    """Record that this clone of Recast has an environment of Recast's own: the launcher of another may take it."""
    with _written_in(user_folder()):
        environment_use.note_clone(root)


@dataclass(frozen=True)
class Kept:
    """An environment on disk that this repository does not want as it is now."""

    directory: Path
    users: tuple[Path, ...]
    """the other repositories that have used it, and are still there"""


def others(root: Path) -> list[Kept]:
    """Environments on disk that no pin file of this repository asks for."""
    own = {one.directory for one in wanted(root)}
    found = []
    for path in sorted(environments_folder().glob("*-*")):
        if path.is_dir() and path not in own and not LEFT_OVER.search(path.name):
            found.append(Kept(path, _users(path.name, besides=environment_use.recorded(root).root)))
    return found


def _users(name: str, besides: Path) -> tuple[Path, ...]:
    return tuple(
        record.root
        for _, record in environment_use.records()
        if name in record.environments and record.root != besides and record.is_living
    )


def prune(root: Path, say: Callable[[str], None], *, everything: bool = False) -> None:
    """Delete environments that no repository needs, and what builds and deletions that were cut have left.

    Needed are those that this repository's pin files ask for, and those that others have used and that are still there;
    with `everything`, none. One that a process uses, or that is being built, stays in any case.
    """
    folder = environments_folder()
    with _written_in(folder):
        _forget(root, everything=everything)
        unneeded = [kept.directory for kept in others(root) if everything or not kept.users]
        if everything:
            unneeded += [one.directory for one in wanted(root) if one.directory.is_dir()]
        for directory in unneeded:
            _delete(directory, say)
        for left_over in left_overs(folder):
            directory = left_over.with_name(LEFT_OVER.sub("", left_over.name))
            with contextlib.suppress(Timeout), FileLock(_lock_of(directory), timeout=0):
                shutil.rmtree(left_over)
    old = root / OLD_ENVIRONMENTS
    if old.is_symlink():
        old.unlink()
    elif old.is_dir():
        shutil.rmtree(old)
    else:
        return
    say(f"deleted {OLD_ENVIRONMENTS}, where an earlier version kept them")


def _delete(directory: Path, say: Callable[[str], None]) -> None:
    try:
        with FileLock(_lock_of(directory), timeout=0):
            if environment_use.is_in_use(directory):
                say(f"left {directory}, which a process uses")
                return
            remove(directory)
    except Timeout:
        say(f"left {directory}, which is being built")
        return
    say(f"deleted {directory}")


def _forget(root: Path, *, everything: bool) -> None:
    """Strike from the records what is not needed: repositories that are gone, and what this one no longer asks for."""
    environment_use.forget_clones()
    for path, record in environment_use.records():
        if everything or not record.is_living:
            path.unlink(missing_ok=True)
    own = environment_use.recorded(root)
    needed = {one.directory.name for one in wanted(root)}
    if not needed.issuperset(own.environments):
        own.environments = {name: day for name, day in own.environments.items() if name in needed}
        environment_use.write(own)
