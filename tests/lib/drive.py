"""The executor on plain DVC repositories: laid for a test, run in its process, or in one that can be killed.

`python -m tests.lib.drive ROOT JOBS [TARGET ...]` runs there and prints each event as a line of JSON; with
`share=SECONDS` among the targets, it shares its work with others by claims of so many seconds; with `push` it pushes,
with `pull` it pulls.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc.exceptions import ReproductionError
from dvc.repo import Repo
from ruamel.yaml import YAML

from recast.pipeline.core.errors import Interrupted, RecastError
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Changed, Ended, Event, Message, State
from recast.pipeline.execution.executor import Executor, Result
from recast.pipeline.execution.interrupts import Interrupts
from recast.pipeline.execution.scheduler import Machine
from recast.pipeline.execution.shell_runner import ShellRunner
from recast.pipeline.execution.task import Conditions, Options, Task

RAN = ".dvc/tmp/ran"
"""each command of a test's stage adds its name here, where DVC does not look"""
ROOT = Path(__file__).resolve().parents[2]
# no test is about how fast a machine with its two shared cores is
PATIENCE = 60.0


def lay(place: Path, files: Mapping[str, str], stages: Mapping[str, Any] | None = None) -> Path:
    """A DVC repository in git with these files, and these stages in dvc.yaml."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    with contextlib.chdir(place), contextlib.redirect_stdout(io.StringIO()):
        Repo.init().close()
    (place / RAN).touch()
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    if stages is not None:
        describe(place / "dvc.yaml", stages)
    return place


def describe(path: Path, stages: Mapping[str, Any]) -> None:
    """Write a dvc.yaml."""
    YAML(typ="safe").dump({"stages": dict(stages)}, path)


def stage(name: str, command: str, deps: Sequence[str] = (), outs: Sequence[Any] = (), **more: Any) -> dict[str, Any]:
    """A stage that notes that it began, and does what the command says."""
    made = {"cmd": f"echo {name} >> {RAN}; {command}", "deps": list(deps), "outs": list(outs), **more}
    return {key: value for key, value in made.items() if value}


def copies(name: str, deps: Sequence[str], **more: Any) -> dict[str, Any]:
    """A stage whose output, a file of its own name, is what it reads and its name."""
    return stage(name, f"cat {' '.join(deps)} > {name} && echo {name} >> {name}", deps, [name], **more)


def started(root: Path) -> Counter[str]:
    """How often each stage was started so far."""
    return Counter((root / RAN).read_text().split())


@dataclass
class Run:
    """What came out of a run."""

    result: Result
    events: list[Event] = field(default_factory=list)

    def named(self, state: State) -> set[str]:
        """The stages that ended in that state."""
        return {name for name, ended in self.result.states.items() if ended is state}

    @property
    def messages(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Message)]


class Needing(ShellRunner):
    """Runs commands, and says of each stage what the test says it needs or took."""

    def __init__(self, root: Path, tasks: Mapping[str, Task], timeout: float | None = None) -> None:
        super().__init__(root, timeout)
        self.tasks = tasks

    def task(self, step: Step) -> Task:
        return self.tasks.get(step.name, super().task(step))


def run(
    root: Path,
    targets: Sequence[str] = ("dvc.yaml",),
    *,
    jobs: int = 4,
    machine: Machine | None = None,
    tasks: Mapping[str, Task] | None = None,
    timeout: float | None = None,
    seen: Callable[[Event], None] = lambda event: None,
    **options: Any,
) -> Run:
    """The executor over a repository, in this process; as many cores as jobs unless a machine is given."""
    events: list[Event] = []

    def show(event: Event) -> None:
        events.append(event)
        seen(event)

    with contextlib.chdir(root), Interrupts() as interrupts:
        repository = Repository(root, lambda text: show(Message(text)), interrupts.check)
        runner = Needing(root, tasks or {}, timeout)
        try:
            where = machine or Machine(max(jobs, 1), 8.0)
            conditions = Conditions(root, Options(jobs, **options), where, show, interrupts)
            result = Executor(repository, runner, conditions).run(targets)
        finally:
            runner.close()
            repository.close()
    return Run(result, events)


def repro(root: Path, targets: Sequence[str] | None = None, **options: Any) -> bool:
    """`dvc repro --keep-going`, in this process; whether no stage failed. No targets: every stage there is."""
    options.setdefault("all_pipelines", not targets)
    with contextlib.chdir(root), contextlib.closing(Repo()) as repo:
        try:
            repo.reproduce(targets or None, on_error="keep-going", **options)
        except ReproductionError:
            return False
    return True


def status(root: Path) -> dict[str, Any]:
    """What `dvc status` shows, in this process."""
    with contextlib.chdir(root), contextlib.closing(Repo()) as repo:
        shown: dict[str, Any] = repo.status()
    return shown


def locks(root: Path) -> dict[str, Any]:
    """Every dvc.lock and .dvc file, as plain values."""
    found = [*root.rglob("dvc.lock"), *(path for path in root.rglob("*.dvc") if path.is_file())]
    return {str(path.relative_to(root)): YAML(typ="safe").load(path.read_text()) for path in found}


def cache(root: Path) -> set[str]:
    """Every object and every run-cache entry."""
    place = root / ".dvc" / "cache"
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


def files(root: Path) -> dict[str, bytes]:
    """Everything else that `dvc repro` leaves too; the order of dvc.lock is free, and of .gitignore."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and name.parts[0] not in (".git", ".dvc", ".recast") and path.name != "dvc.lock":
            found[str(name)] = path.read_bytes()
            if path.name == ".gitignore":
                found[str(name)] = b"".join(sorted(path.read_bytes().splitlines(keepends=True)))
    return found


def assert_cached(root: Path, uncached: Container[str] = ()) -> None:
    """Every output in every dvc.lock is in the cache under the name that is its content's, but for the stages named."""
    for path, lock in locks(root).items():
        entries = {name: entry for name, entry in lock.get("stages", {}).items() if name not in uncached}
        outs = [out for entry in entries.values() for out in entry.get("outs", ())]
        for out in outs:
            for object in objects(root, out["md5"]):
                assert object.is_file(), f"{path}: {out['path']} is not in the cache"
                content = hashlib.md5(object.read_bytes(), usedforsecurity=False).hexdigest()
                oid = f"{object.parent.name}{object.name}".removesuffix(".dir")
                assert content == oid, f"{path}: {out['path']} is damaged in the cache"


def objects(root: Path, oid: str) -> list[Path]:
    """Where the cache holds an object; a folder's list is followed by the files it lists."""
    cached = root / ".dvc/cache/files/md5"
    first = cached / oid[:2] / oid[2:]
    listed = [entry["md5"] for entry in json.loads(first.read_text())] if oid.endswith(".dir") else []
    return [first, *(cached / one[:2] / one[2:] for one in listed)]


# -- in a process of its own


def command(root: Path, jobs: int, *targets: str) -> list[str]:
    """The command that runs there as `run` does here."""
    return [sys.executable, "-m", "tests.lib.drive", str(root), str(jobs), *targets]


@contextlib.contextmanager
def running(root: Path, jobs: int = 4, *targets: str) -> Iterator[Driven]:
    """A run in a process of its own, in a process group of its own."""
    process = subprocess.Popen(
        command(root, jobs, *targets),
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # where the tests themselves run in the background, the shell has them ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield Driven(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


class Driven:
    """That process, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.noise: list[str] = []

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read on to the event for which this holds."""
        assert self.process.stdout
        for line in self.process.stdout:
            if (event := self._note(line)) and holds(event):
                return event
        raise AssertionError(f"the run ended without it:\n{self.events}\n{''.join(self.noise)}")

    def until_running(self, *names: str) -> None:
        """Read on until all these stages have been started."""
        left = set(names)
        while left:
            left.discard(self.until(lambda event: event.get("state") == "running")["stage"])

    def end(self) -> int:
        """Read all the rest; the exit code."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        for line in said.splitlines():
            self._note(line)
        return self.process.returncode

    def named(self, state: State) -> set[str]:
        """The stages that came to that state."""
        return {event["stage"] for event in self.events if event.get("state") == state}

    def _note(self, line: str) -> dict[str, Any] | None:
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            self.noise.append(line)
            return None
        self.events.append(event)
        return event


def wait_until(holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


def main() -> int:
    root, jobs, rest = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    shares = [float(word.removeprefix("share=")) for word in rest if word.startswith("share=")]
    targets = [word for word in rest if not word.startswith("share=") and word not in ("push", "pull")] or ["dvc.yaml"]
    options: dict[str, Any] = {"pull": True, "push": True, "share": True, "lease": shares[0]} if shares else {}
    options |= {word: True for word in ("push", "pull") if word in rest}

    def show(event: Event) -> None:
        line: dict[str, Any] = {"event": type(event).__name__}
        if isinstance(event, Changed):
            line |= {"stage": event.stage, "state": event.state, "because": event.because, "error": event.error}
        elif isinstance(event, Message):
            line |= {"text": event.text}
        elif isinstance(event, Ended):
            line |= {"interrupted": event.interrupted}
        print(json.dumps(line), flush=True)

    try:
        found = run(root, targets, jobs=jobs, seen=show, **options)
    except KeyboardInterrupt:
        return 130
    except RecastError as error:
        print(json.dumps({"event": "Refused", "text": str(error)}), flush=True)
        return 130 if isinstance(error, Interrupted) else 2
    return 1 if found.result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
