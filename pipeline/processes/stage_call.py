"""Runs one planned stage as a process of its own and moves its output into place if it succeeds."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import io
import json
import os
import select
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ruamel.yaml import YAML

from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import Interrupted, RecastError, StageFailed
from recast.pipeline.core.layout import DEFAULTS, METRICS, import_folder
from recast.pipeline.core.main_checkout import main_checkout
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.planning.remedies import followable, params_by_name
from recast.pipeline.processes.environment import Environment
from recast.pipeline.processes.environments import device
from recast.pipeline.processes.plugin_code import import_folders, refuse_replaced
from recast.pipeline.processes.stage_logs import ERROR, TAIL_LINES, new_log
from recast.pipeline.processes.worker_pool import WorkerLost, WorkerProcess, describe_exit
from recast.stages.base import EVENT_MARK
from recast.stages.registry import REGISTRY

RUNNING = ".recast/running"
FAILED = ".recast/failed"
TIMINGS = ".recast/timings"
DATA_ROOT_VARIABLE = "RECAST_DATA_ROOT"
ARRIVING = ".arriving"
# how long a stage may be silent before it is looked at whether its process is still there
_LOOK_MILLISECONDS = 500


@dataclass(frozen=True)
class Limit:
    """When a stage is to be ended, and what is then said: it reads what may make native code run for ever."""

    at: float
    """on the clock of `time.monotonic`"""
    error: str
    remedies: tuple[str, ...]


@dataclass
class Outcome:
    """What the events of a stage's process said."""

    error: str = ""
    remedies: tuple[str, ...] = ()
    timings: dict[str, Any] = field(default_factory=dict)
    """seconds by name, and what else was measured, which no output may hold"""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    in_traceback: bool = False
    limit: Limit | None = None
    """that it has set itself and not taken back"""
    seconds: float = 0.0
    """from the start of its process to its end"""
    held: dict[str, int] = field(default_factory=dict)
    """code that it had imported before it was edited -> when that was last modified then, in nanoseconds"""

    def keep_line(self, line: str) -> None:
        """Remember a line for the end of a failure; of a traceback only its last line, the log has it all."""
        if "Traceback (most recent call last)" in line:
            self.in_traceback = True
        elif not (self.in_traceback and line.startswith((" ", "\t"))):
            self.in_traceback = False
            self.tail.append(line)


class Source(Protocol):
    """Where processes come from: `Workers`, or what stands before it."""

    def start(
        self, environment: Environment, threads: int, gpus: Sequence[str] = (), *, isolated: bool = False
    ) -> WorkerProcess: ...

    def release(self, process: WorkerProcess) -> None: ...


Live = Callable[[str, int | None, int | None], None]
"""called with a stage's short progress line and, where it counts something, how many are done of how many"""


@dataclass(frozen=True)
class StageProcess:
    """One planned stage, to be run in a process of its environment."""

    root: Path
    plan: Plan
    stage: PlannedStage
    environment: Environment
    live: Live
    on_log: Callable[[str], None] = lambda path: None
    """told the log's path in the repository before anything runs"""
    timeout: float | None = None
    """seconds after which it is stopped"""
    on_note: Callable[[str], None] = lambda text: None
    """told what the stage says that is to be known and stops nothing"""

    def run(self, workers: Source, *, gpus: Sequence[str] = (), isolated: bool = False) -> Outcome:
        """Run the stage and put its output in `artifacts/`; returns what its process said, and how long it took.

        Its process comes from `workers`, a cold one with `isolated`. It sees the GPUs named, or all if none is. May be
        called from several threads at once, for different stages.

        Raises RecastError if an input is missing or the environment's packages cannot be preloaded,
        StageFailed if the stage fails and Interrupted if `workers` are closed meanwhile; whatever was
        half-written is then removed.
        """
        root, stage = self.root, self.stage
        directories = self._inputs()
        refuse_replaced(stage)
        sweep(root)
        workplace = root / RUNNING / f"{stage.dvc_name}.{os.getpid()}"
        out, scratch = workplace / "out", workplace / "scratch"
        # from here on an interrupt, however early, leaves nothing behind
        try:
            shutil.rmtree(failed_output(root, stage), ignore_errors=True)
            out.mkdir(parents=True)
            scratch.mkdir()
            log = new_log(root, stage.dvc_name)
            shown = log.relative_to(root).as_posix()
            self.on_log(shown)
            process = workers.start(self.environment, stage.params["resources"]["cpu"], gpus, isolated=isolated)
            try:
                outcome, code = self._listen(process, self._job(directories, out, scratch), log)
            finally:
                workers.release(process)
            if code or outcome.error:
                _keep_failed(root, stage, out)
                raise _failure(root, self.plan, stage, outcome, code, log)
            refuse_replaced(stage)
            _move_into_place(out, root / stage.out, workplace / "replaced")
        except WorkerLost as error:
            raise StageFailed(f"stage '{stage.id}' failed: {error.message}", error.remedy, shown) from error
        finally:
            shutil.rmtree(workplace, ignore_errors=True)
        _keep_timings(root, stage, outcome.seconds, outcome.timings)
        return outcome

    def _inputs(self) -> dict[str, Path]:
        directories = {name: self.root / self.plan.stages[id].out for name, id in self.stage.inputs.items()}
        for name, path in directories.items():
            if not path.is_dir():
                where = path.relative_to(self.root).as_posix()
                missing = f"stage '{self.stage.id}' reads '{name}', but {where} is not there"
                command = Address(self.stage.recipe).run_command(self.root)
                raise RecastError(missing, f"run '{command}', which makes what is missing first")
        return directories

    def _job(self, directories: Mapping[str, Path], out: Path, scratch: Path) -> dict[str, Any]:
        return {
            "root": str(self.root),
            "module": REGISTRY[self.stage.uses].module,
            "import_from": [*import_folders(self.root, self.stage.plugins), *self._own_folders()],
            "project": {**asdict(self.stage.project), "root": str(self.root)},
            "params": self.stage.params,
            "directories": {name: str(path) for name, path in directories.items()},
            "files": {name: str(self.root / path) for name, path in self.stage.files.items()},
            "data_roots": [str(path) for path in data_roots(self.root)],
            "scratch": str(scratch),
            "device": device(self.root),
            "out": str(out),
        }

    def _own_folders(self) -> list[str]:
        """What of the project to import from before its root, which every process has; what it holds is not Recast."""
        roots = [str(self.root / place) for place in self.stage.project.import_roots]
        return [str(import_folder(self.root)), *roots] if roots != [str(self.root)] else []

    def _listen(self, process: WorkerProcess, job: Mapping[str, Any], log: Path) -> tuple[Outcome, int]:
        """Give the process its job and hear it to its end; what it said, and its exit code."""
        outcome = Outcome()
        # not what a warm process needed for its imports, which others share
        started = time.monotonic()
        late = threading.Event()
        with log.open("w", encoding="utf-8") as file, _after(self.timeout, late, process.stop):
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(job) + "\n")
                process.stdin.flush()
            for line in lines(process, lambda: _end_at_limit(outcome, process)):
                _take_line(line, outcome, file.write, self.live, self.on_note)
                file.flush()
        # before its exit code, which says only that it was stopped
        if process.interrupted:
            raise Interrupted(f"stage '{self.stage.id}' was stopped with the run")
        code = process.wait()
        if late.is_set():
            raise StageFailed(
                f"stage '{self.stage.id}' failed: it took longer than {self.timeout:g} s",
                "raise --timeout, or give it less to do",
                log.relative_to(self.root).as_posix(),
                tuple(outcome.tail),
            )
        outcome.seconds = time.monotonic() - started
        return outcome, code


def lines(process: WorkerProcess, look: Callable[[], None]) -> Iterator[str]:
    """What the process writes, line by line, until it has ended and nothing of it is left to read.

    `look` is called now and then. A process that it has started in a session of its own may hold its output open for
    ever.
    """
    descriptor = process.stdout.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    rest = ""
    while True:
        look()
        if not poll.poll(_LOOK_MILLISECONDS):
            # it may have written its last line since, and ended
            if process.has_ended() and not poll.poll(0):
                break
            continue
        data = os.read(descriptor, 1 << 16)
        *lines, rest = (rest + decoder.decode(data, final=not data)).split("\n")
        yield from (f"{line}\n" for line in lines)
        if not data:
            break
    if rest:
        yield rest


@contextlib.contextmanager
def _after(seconds: float | None, late: threading.Event, stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` and set `late` if the body takes longer than that."""

    def expire() -> None:
        late.set()
        stop()

    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end_at_limit(outcome: Outcome, process: WorkerProcess) -> None:
    if outcome.limit and time.monotonic() > outcome.limit.at:
        outcome.error, outcome.remedies, outcome.limit = outcome.limit.error, outcome.limit.remedies, None
        process.stop()


def _take_line(
    line: str, outcome: Outcome, log: Callable[[str], object], live: Live, on_note: Callable[[str], None]
) -> None:
    # a tool's progress bar may share the line with an event
    noise, mark, event = line.partition(EVENT_MARK)
    if noise.strip():
        log(noise if noise.endswith("\n") else f"{noise}\n")
        outcome.keep_line(noise.rstrip().rpartition("\r")[2])
    if not mark:
        return
    said: dict[str, Any] = json.loads(event)
    if "progress" in said:
        text, done, total = said["progress"], said.get("done"), said.get("total")
        log(f"[progress] {with_count(text, done, total)}\n")
        live(text, done, total)
    elif "note" in said:
        log(f"[note] {said['note']}\n")
        on_note(said["note"])
    elif "timing" in said:
        outcome.timings[said["timing"]] = said["seconds"]
    elif "measured" in said:
        outcome.timings[said["measured"]] = said["value"]
    elif "held" in said:
        outcome.held = said["held"]
    elif "limit" in said:
        seconds = said["limit"]
        ends = None if seconds is None else Limit(time.monotonic() + seconds, said["error"], tuple(said["remedies"]))
        outcome.limit = ends
    elif "traceback" in said:
        log(said["traceback"])
    else:
        log(f"{ERROR}{said['error']}\n")
        outcome.error, outcome.remedies = said["error"], tuple(said["remedies"])


def with_count(text: str, done: int | None, total: int | None) -> str:
    """A progress line for people: `epoch 3 (3/10)`."""
    return " ".join(part for part in (text, f"({done}/{total})" if total else "") if part)


def _failure(root: Path, plan: Plan, stage: PlannedStage, outcome: Outcome, code: int, log: Path) -> StageFailed:
    shown = log.relative_to(root).as_posix()
    if outcome.error:
        message = f"stage '{stage.id}' failed: {outcome.error}"
        remedy = followable(outcome.remedies, params_by_name(plan, stage))
    else:
        message = f"stage '{stage.id}' failed: its process {describe_exit(code)} without saying why"
        remedy = "its log may say more" + (" (signal 9 is often a lack of memory)" if code == -9 else "")
    return StageFailed(message, remedy, shown, tuple(outcome.tail))


def failed_output(root: Path, stage: PlannedStage) -> Path:
    """Where what the stage had written is, if its last run here failed: for people to look at, read by no stage."""
    return root / FAILED / stage.dvc_name


def newest_report(root: Path, stage: PlannedStage) -> str:
    """The report of a stage that verifies, of its last run, whether that succeeded or failed; relative to the root.

    Empty if there is none.
    """
    failed = failed_output(root, stage).relative_to(root).as_posix()
    places = [f"{folder}/{stage.stage.reports}" for folder in (stage.out, failed)]
    there = [place for place in places if (root / place).is_file()]
    return max(there, key=lambda place: (root / place).stat().st_mtime_ns, default="")


def withdraw(root: Path, stage: PlannedStage) -> str:
    """Move the output of a stage that has just ended to where those of failed ones are; where that is."""
    _keep_failed(root, stage, root / stage.out)
    return failed_output(root, stage).relative_to(root).as_posix()


def _keep_failed(root: Path, stage: PlannedStage, out: Path) -> None:
    if any(out.iterdir()):
        place = failed_output(root, stage)
        place.parent.mkdir(parents=True, exist_ok=True)
        out.rename(place)


def _move_into_place(fresh: Path, place: Path, replaced: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    arrived = place.with_name(f".{place.name}{ARRIVING}")
    try:
        if fresh.stat().st_dev != place.parent.stat().st_dev:
            # a mount or a link of the user's: what is renamed into place must lie there already
            shutil.rmtree(arrived, ignore_errors=True)
            shutil.copytree(fresh, arrived)
            fresh, replaced = arrived, arrived.with_name(f"{arrived.name}.replaced")
        if place.exists():
            place.rename(replaced)
        fresh.rename(place)
    except OSError as error:
        # of many files that could not be copied, the first says why
        reason = error.strerror or str(error.args[0][0][2]).partition(":")[0]
        raise RecastError(
            f"the output cannot be put into {place.parent}: {reason}",
            "free space there, or see that it may be written to, then run it again",
        ) from error
    finally:
        for left in (arrived, arrived.with_name(f"{arrived.name}.replaced")):
            shutil.rmtree(left, ignore_errors=True)


def sweep(root: Path) -> None:
    """Delete what killed runs left in the running directory."""
    for left_over in (root / RUNNING).glob("*.*"):
        owner = left_over.name.rpartition(".")[2]
        if not (owner.isdigit() and is_alive(int(owner))):
            shutil.rmtree(left_over, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number, be it another user's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _keep_timings(root: Path, stage: PlannedStage, seconds: float, timings: Mapping[str, Any]) -> None:
    path = root / TIMINGS / f"{stage.dvc_name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"seconds": seconds, "ended": time.time(), "of": _digest(root, stage), **timings}
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _digest(root: Path, stage: PlannedStage) -> str | None:
    """By which a result is known again: a hash of the metrics in the stage's output; None if there are none."""
    try:
        return hashlib.sha256((root / stage.out / METRICS).read_bytes()).hexdigest()
    except OSError:
        return None


def read_timings(root: Path, stage: PlannedStage) -> dict[str, Any]:
    """What the stage's last run on this machine took; empty if it never ran here."""
    try:
        timings: dict[str, Any] = json.loads((root / TIMINGS / f"{stage.dvc_name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return timings if isinstance(timings, dict) else {}


def read_timings_of_result(root: Path, stage: PlannedStage) -> dict[str, Any]:
    """`read_timings`, if that run made the result that lies there now; empty after a restore of another."""
    timings = read_timings(root, stage)
    return timings if timings.get("of") is not None and timings["of"] == _digest(root, stage) else {}


def data_roots(root: Path) -> tuple[Path, ...]:
    """Where downloaded datasets lie, in the order they are searched; relative places are the repository's.

    Those of a second checkout of it are the first's, so that a copy in which DVC tries a value downloads nothing.
    """
    if chosen := os.environ.get(DATA_ROOT_VARIABLE):
        places = chosen.split(os.pathsep)
    else:
        defaults = YAML(typ="safe").load((root / DEFAULTS).read_text(encoding="utf-8")) or {}
        said = defaults.get("data_root", "downloads")
        places = [said] if isinstance(said, str) else said
    main = main_checkout(root)
    return tuple((main / Path(place).expanduser()).resolve() for place in places)
