"""A repository of stages that only sleep, in an environment that is built in a second, and workers of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lib.copied import ROOT
from tests.lib.drive import PATIENCE, wait_until
from tests.lib.remotes import Remote, await_port, free_port

_STAGE = '''\
"""Sleeps."""

from __future__ import annotations

import time
from pathlib import Path

from recast.stages.base import Inputs, Metrics, Params, Stage


class NapParams(Params):
    """How long, what comes out, and how much of it."""

    seconds: float = 0.0
    says: int = 0
    kilobytes: int = 0


def run(params: NapParams, inputs: Inputs, out: Path) -> Metrics:
    print("good night")
    time.sleep(params.seconds)
    (out / "dream.txt").write_text(f"{{params.says}}\\n")
    if params.kilobytes:
        (out / "snores.bin").write_bytes(bytes([params.says]) * params.kilobytes * 1000)
    return {{}}


STAGE = Stage(params=NapParams, run=run, inputs={inputs!r})
'''
_LOCAL = ".dvc/config.local"
_PYDANTIC = ("annotated-types==", "pydantic==", "pydantic-core==", "typing-extensions==", "typing-inspection==")


def lay(place: Path, targets: Mapping[str, Mapping[str, str]], remote: str | Remote) -> Path:
    """A committed clone of Recast with one recipe, `naps`, of which each target has these stages, one after the other.

    The params of a stage are written as YAML. `remote`: where its DVC remote is.
    """
    for name in ("src", "pipeline", "stages", "envs", ".dvc", "models"):
        ignore = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
        shutil.copytree(ROOT / name, place / name, ignore=ignore, symlinks=True)
    for name in ("recast", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, place / name)
    (place / ".venv").symlink_to(Path(sys.prefix))
    entries = []
    (place / "recipes/targets").mkdir(parents=True)
    recipe = ["model: models.digits_cnn:DigitsCnn", "stages: {data: {dataset: digits}}", "targets:"]
    for target, stages in targets.items():
        recipe.append(f"  {target}:")
        (place / f"recipes/targets/{target}.yaml").write_text(
            "".join(["stages:\n", *(f"  {name}: {{}}\n" for name in stages)])
        )
        before: tuple[str, ...] = ()
        for name, params in stages.items():
            module = f"nap_{'after_' + before[0] if before else 'first'}"
            (place / f"stages/{module}.py").write_text(_STAGE.format(inputs=before))
            entries.append(f'    "{target}.{name}": Entry("recast.stages.{module}", "nap"),\n')
            recipe.append(f"    {name}: {params}")
            before = (name,)
    registered = place / "stages/builtin.py"
    registered.write_text(registered.read_text().replace("    # targets\n", "    # targets\n" + "".join(entries)))
    pins = [line for line in (place / "envs/recast.txt").read_text().splitlines() if line.startswith(_PYDANTIC)]
    (place / "envs/nap.txt").write_text("# python: 3.11\n" + "\n".join(pins) + "\n")
    (place / "params.yaml").write_text("data_root: downloads\n")
    (place / "recipes/naps.yaml").write_text("\n".join(recipe) + "\n")
    kept = remote if isinstance(remote, Remote) else Remote(remote)
    (place / ".dvc/config").write_text("[core]\n    remote = shared\n" + _options({"url": kept.url, **kept.shared}))
    if kept.local:
        (place / _LOCAL).write_text(_options(kept.local))
    git(place, "init", "--quiet", "--initial-branch", "main")
    call(place, "sync")
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message", "lay")
    return place


def _options(options: Mapping[str, str]) -> str:
    return "".join(["['remote \"shared\"']\n", *(f"    {name} = {value}\n" for name, value in options.items())])


def clone(source: Path, place: Path) -> Path:
    """Another checkout at the same commit, which can reach the same remote."""
    git(source, "clone", "--quiet", str(source), str(place))
    if (source / _LOCAL).exists():
        shutil.copy(source / _LOCAL, place / _LOCAL)
    (place / ".venv").symlink_to(Path(sys.prefix))
    (place / "device.txt").write_text("cpu\n")
    return place


def git(place: Path, *arguments: str) -> None:
    author = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *author, *arguments], cwd=place, check=True, stdin=subprocess.DEVNULL)


def call(place: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """`recast` there, by its own code; what it prints is in the error if it fails."""
    done = subprocess.run(
        [str(place / "recast"), *arguments],
        cwd=place,
        env=variables(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done


def variables() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    return {**kept, "DVC_NO_ANALYTICS": "1"}


@contextmanager
def scheduler(address: str = "127.0.0.1") -> Iterator[str]:
    """A Dask scheduler in a process of its own, at this address of the machine; where workers find it."""
    port = free_port(address)
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", address, "--port", str(port)]
    process = subprocess.Popen([*command, "--no-dashboard"], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        await_port(port, "the scheduler does not come up", address)
        yield f"tcp://{address}:{port}"
    finally:
        process.kill()
        process.wait()


class Worker:
    """`recast worker` in a process of its own; `within` comes before the command."""

    def __init__(self, place: Path, address: str, name: str, *more: str, within: Sequence[str] = ()) -> None:
        self.log = place.parent / f"{name}.log"
        self.place = place
        self._name = name
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*within, str(place / "recast"), "worker", address, "--name", name, "--cores", "1", *more],
                cwd=place,
                env=variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def await_ready(self) -> None:
        """Until it can be given stages."""

        def is_ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return f"worker {self._name} works for" in self.log.read_text()

        wait_until(is_ready, f"worker {self._name} is there", 4 * PATIENCE)

    def signal(self, number: int) -> None:
        """To the worker alone, not to the stages that it runs."""
        self.process.send_signal(number)

    def hang(self) -> None:
        """Nothing of it goes on, and its connections stay open."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def workers(
    places: Sequence[Path], address: str, *more: str, within: Sequence[Sequence[str]] = ()
) -> Iterator[list[Worker]]:
    """A worker in each of these checkouts, all of them there; `w0`, `w1` and so on. `within` as for Worker, of each."""
    started: list[Worker] = []
    try:
        for number, place in enumerate(places):
            started.append(Worker(place, address, f"w{number}", *more, within=within[number] if within else ()))
        for one in started:
            one.await_ready()
        yield started
    finally:
        for one in started:
            one.end()


def outputs(place: Path) -> dict[str, bytes]:
    """Everything in `artifacts/`, and dvc.lock."""
    files = [path for path in sorted((place / "artifacts").rglob("*")) if path.is_file()]
    return {str(path.relative_to(place)): path.read_bytes() for path in [*files, place / "dvc.lock"]}


def outputs_alone(driver: Path, place: Path) -> dict[str, bytes]:
    """What a run on this machine leaves. It builds the environment too, for hosts that reach no package index."""
    call(clone(driver, place), "run")
    return outputs(place)
