"""Builds and finds the environments stages run in: one per pin file `envs/<name>.txt`.

An environment lies in `.recast/envs/<name>-<hash of its pins>`. It is built by uv beside that place
and renamed into it, so that a half-built one is never used; a file lock keeps two runs from building
it at once.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import RecastError
from stages.spelling import did_you_mean

ENVIRONMENTS = ".recast/envs"
PINS = "envs"
DEVICE = "device.txt"
"""What `device: auto` means on this machine: one word, git-ignored, a dependency of the stages that say auto."""
DEVICES = ("cpu", "cuda", "mps")

# `# python: 3.11`, `# size: 1.2 GB` and `# preload: torch onnx` in the head of a pin file
_HEADER = re.compile(r"^#\s*(python|size|preload):\s*(.+?)\s*$", re.MULTILINE)
_PRELOAD = re.compile(r"^#\s*preload:.*\n", re.MULTILINE)
_POLL_SECONDS = 0.2
_OWN = ("recast", "dev")  # pins of .venv itself, no stage runs there


@dataclass(frozen=True)
class Environment:
    """One environment: its pins, the Python it needs and where it lies once built."""

    name: str
    pins: Path
    python_version: str
    size: str
    """what it takes on disk, for people"""
    directory: Path
    torch_backend: str | None
    """which build of torch uv is to choose where nothing else decides; None without torch"""
    preload: tuple[str, ...] = ()
    """modules that a warm worker holds imported before it is given a stage"""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"

    @property
    def is_built(self) -> bool:
        """Whether it is ready for use."""
        return self.python.exists()


def device(root: Path) -> str:
    """The device `device: auto` means here; written as `cpu` where nobody has chosen."""
    path = root / DEVICE
    if not path.exists():
        set_device(root, "cpu")
    chosen = path.read_text(encoding="utf-8").strip()
    if chosen not in DEVICES:
        raise RecastError(f"{DEVICE} says '{chosen}', which is no device", f"write one of: {', '.join(DEVICES)}")
    return chosen


def set_device(root: Path, chosen: str) -> None:
    """Choose what `device: auto` means on this machine."""
    (root / DEVICE).write_text(f"{chosen}\n", encoding="utf-8")


def names(root: Path) -> tuple[str, ...]:
    """The environments that have a pin file, sorted."""
    return tuple(sorted(path.stem for path in (root / PINS).glob("*.txt") if path.stem not in _OWN))


def find(root: Path, name: str) -> Environment:
    """The environment of that name, built or not. Raises RecastError for an unknown name or a bad pin file."""
    if name not in names(root):
        raise RecastError(f"no environment named '{name}' in {PINS}/", did_you_mean(name, names(root)))
    pins = root / PINS / f"{name}.txt"
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
    key = hashlib.sha256(f"{installed}\n{backend}".encode()).hexdigest()[:12]
    directory = root / ENVIRONMENTS / f"{name}-{key}"
    size, preload = header.get("size", "unknown size"), tuple(header.get("preload", "").split())
    return Environment(name, pins, header["python"], size, directory, backend, preload)


Run = Callable[[list[str], Mapping[str, str]], int]
"""Runs a command with an environment; returns its exit code."""


def _on_the_terminal(command: list[str], variables: Mapping[str, str]) -> int:
    return subprocess.run(command, stdin=subprocess.DEVNULL, env=variables).returncode


def ensure(
    root: Path,
    name: str,
    say: Callable[[str], None],
    run: Run = _on_the_terminal,
    waits: Callable[[], None] = lambda: None,
) -> Environment:
    """The environment of that name, built now, with uv called by `run`, if it is not there yet.

    `waits` is called again and again while another process builds it, and may raise to give up. Raises RecastError if
    it cannot be built.
    """
    environment = find(root, name)
    if environment.is_built:
        return environment
    environment.directory.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock_file(environment.directory))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another run that builds the environment '{name}'")
        while not lock.is_locked:
            waits()
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=_POLL_SECONDS)
    try:
        if not environment.is_built:
            say(f"building the environment '{name}' ({environment.size}; once per change of {PINS}/{name}.txt)")
            started = time.monotonic()
            _build(environment, run, waits)
            say(f"built the environment '{name}' in {time.monotonic() - started:.0f} s")
    finally:
        lock.release()
    return environment


def _lock_file(directory: Path) -> str:
    return f"{directory}.lock"


def _build(environment: Environment, run: Run, waits: Callable[[], None]) -> None:
    for left_over in environment.directory.parent.glob(f"{environment.directory.name}.building-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    # a name of its own: an orphaned uv of a killed run must not write into this one
    building = environment.directory.with_name(f"{environment.directory.name}.building-{os.getpid()}")
    uv = find_uv()
    options = index_options(os.environ)
    this = f"{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = sys.executable if environment.python_version == this else environment.python_version
    make = [uv, "venv", "--quiet", "--no-project", "--relocatable", "--python", interpreter, str(building)]
    made = subprocess.run([*make, "--no-python-downloads"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if made.returncode:
        raise RecastError(
            f"the environment '{environment.name}' needs Python {environment.python_version}: {made.stderr.strip()}",
            f"install it, for example with 'uv python install {environment.python_version}'",
        )
    waits()
    install = [uv, "pip", "install", "--no-config", "--python", str(building / "bin" / "python")]
    # bytecode now, so that no stage pays for it and nothing is written there later
    install += ["--compile-bytecode", "--requirements", str(environment.pins), *options.arguments]
    if environment.torch_backend != "auto":
        # the pins are a full lock; torch's CUDA packages are wanted only where a GPU was asked for
        install.append("--no-deps")
    if environment.torch_backend and not options.has_find_links:
        install += ["--torch-backend", environment.torch_backend]
    install.append("--quiet")  # nobody reads uv's list of packages; what fails it says all the same
    code = run(install, {**os.environ, **options.variables})
    if code:
        shutil.rmtree(building, ignore_errors=True)
        where = "above" if run is _on_the_terminal else "its log"
        raise RecastError(
            f"the environment '{environment.name}' could not be installed (uv ended with {code}, see {where})",
            "check the network and the package index ('pip config list'), then run the command again",
        )
    building.rename(environment.directory)


def find_uv() -> str:
    """The uv executable: the one beside this Python, or one on PATH. Raises RecastError if there is none."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if not found:
        raise RecastError("uv is not installed, and environments are built with it", "run 'make setup'")
    return found


@dataclass(frozen=True)
class IndexOptions:
    """What uv is told of the machine's package indexes."""

    arguments: tuple[str, ...]
    variables: Mapping[str, str]
    has_find_links: bool


def index_options(environment: Mapping[str, str]) -> IndexOptions:
    """The machine's pip configuration as options of uv, which does not read it itself.

    uv's own variables win: where one is set, pip's counterpart is left out.
    """
    pip = dict(_pip_config())
    arguments: list[str] = []
    has_find_links = bool(environment.get("UV_FIND_LINKS"))
    if not has_find_links:
        for place in pip.get("find-links", []):
            arguments += ["--find-links", place]
            has_find_links = True
    if not any(environment.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL")):
        for url in pip.get("index-url", [])[:1]:
            arguments += ["--default-index", url]
    if not any(environment.get(name) for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL")):
        extra = pip.get("extra-index-url", [])
        for url in extra:
            arguments += ["--index", url]
        if extra and not environment.get("UV_INDEX_STRATEGY"):
            # as pip does: the best version of any index, not the first index that knows the name
            arguments += ["--index-strategy", "unsafe-best-match"]
    for host in pip.get("trusted-host", []):
        arguments += ["--allow-insecure-host", host]
    variables = {}
    if (certificates := pip.get("cert")) and not environment.get("SSL_CERT_FILE"):
        variables["SSL_CERT_FILE"] = certificates[0]
    return IndexOptions(tuple(arguments), variables, has_find_links)


def _pip_config() -> Iterator[tuple[str, list[str]]]:
    """pip's settings by name, the strongest source last."""
    commands = [[sys.executable, "-m", "pip"], [shutil.which("pip3") or "pip3"]]
    for command in commands:
        try:
            listed = subprocess.run([*command, "config", "list"], capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if listed.returncode == 0:
            lines = [line.partition("=") for line in listed.stdout.splitlines() if "=" in line]
            # `:env:` settings beat those of `install`, which beat those of `global`
            rank = {"global": 0, "install": 1, ":env:": 2}
            for scope in sorted(rank, key=lambda name: rank[name]):
                for key, _, value in lines:
                    if key.startswith(f"{scope}."):
                        yield key.removeprefix(f"{scope}."), str(ast.literal_eval(value)).split()
            return


def unused(root: Path) -> list[Path]:
    """Environments on disk that no pin file asks for any more, and half-built ones."""
    wanted = {find(root, name).directory for name in names(root)}
    folder = root / ENVIRONMENTS
    return sorted(path for path in folder.glob("*-*") if path.is_dir() and path not in wanted)


def prune(root: Path, say: Callable[[str], None]) -> None:
    """Delete unused environments; one that is being built right now is left alone."""
    for path in unused(root):
        lock = FileLock(_lock_file(path.with_name(path.name.partition(".building-")[0])))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            shutil.rmtree(path)
            say(f"deleted {path.relative_to(root)}")
        finally:
            lock.release()
