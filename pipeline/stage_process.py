"""Runs one planned stage as a process of its own and moves its output into place if it succeeds."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import select
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.environments import Environment, device
from pipeline.errors import Interrupted, RecastError, StageFailed
from pipeline.layout import DEFAULTS
from pipeline.plan import Plan, PlannedStage
from pipeline.remedies import followable, params_by_name
from pipeline.workers import WorkerLost, WorkerProcess, Workers, describe_exit
from stages.base import EVENT_MARK
from stages.registry import REGISTRY

RUNNING = ".recast/running"
LOGS = ".recast/logs"
FAILED = ".recast/failed"
TIMINGS = ".recast/timings"
DATA_ROOT_VARIABLE = "RECAST_DATA_ROOT"
LOGS_KEPT = 20
TAIL_LINES = 8
# how long a stage may be silent before it is looked at whether its process is still there
_LOOK_MILLISECONDS = 500


@dataclass
class Outcome:
    """What the events of a stage's process said."""

    error: str = ""
    remedies: tuple[str, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    in_traceback: bool = False
    seconds: float = 0.0
    """from the start of its process to its end"""

    def keep_line(self, line: str) -> None:
        """Remember a line for the end of a failure; of a traceback only its last line, the log has it all."""
        if "Traceback (most recent call last)" in line:
            self.in_traceback = True
        elif not (self.in_traceback and line.startswith((" ", "\t"))):
            self.in_traceback = False
            self.tail.append(line)


Live = Callable[[str, int | None, int | None], None]
"""called with a stage's short progress line and, where it counts something, how many are done of how many"""


def run_stage(
    root: Path,
    plan: Plan,
    stage: PlannedStage,
    environment: Environment,
    live: Live,
    workers: Workers | None = None,
    *,
    gpus: Sequence[str] = (),
    isolated: bool = False,
    timeout: float | None = None,
    on_log: Callable[[str], None] | None = None,
) -> float:
    """Run the stage and put its output in `artifacts/`; returns the seconds it took.

    Its process comes from `workers`, or is a cold one, as with `isolated`. It sees the GPUs named, or all if none is,
    and is stopped `timeout` seconds after it began. `on_log` is told the log's path in the
    repository. May be called from several threads at once, for different stages.

    Raises RecastError if an input is missing or the environment's packages cannot be preloaded,
    StageFailed if the stage fails and Interrupted if `workers` are closed meanwhile; whatever was
    half-written is then removed.
    """
    directories = {name: root / plan.stages[id].out for name, id in stage.inputs.items()}
    for name, path in directories.items():
        if not path.is_dir():
            missing = f"stage '{stage.id}' reads '{name}', but {path.relative_to(root).as_posix()} is not there"
            raise RecastError(missing, f"run './recast run {stage.recipe}', which makes what is missing first")
    sweep(root)
    workplace = root / RUNNING / f"{stage.dvc_name}.{os.getpid()}"
    out, scratch = workplace / "out", workplace / "scratch"
    # from here on an interrupt, however early, leaves nothing behind
    try:
        shutil.rmtree(failed_output(root, stage), ignore_errors=True)
        out.mkdir(parents=True)
        scratch.mkdir()
        job = {
            "root": str(root),
            "module": REGISTRY[stage.uses].module,
            "params": stage.params,
            "directories": {name: str(path) for name, path in directories.items()},
            "files": {name: str(root / path) for name, path in stage.files.items()},
            "data_roots": [str(path) for path in data_roots(root)],
            "scratch": str(scratch),
            "device": device(root),
            "out": str(out),
        }
        log = new_log(root, stage.dvc_name)
        shown = log.relative_to(root).as_posix()
        if on_log:
            on_log(shown)
        with contextlib.nullcontext(workers) if workers else Workers(root, warm=False) as starter:
            start = partial(starter.start, environment, stage.params["resources"]["cpu"], gpus, isolated=isolated)
            outcome, code = _run_process(root, stage, start, starter.release, timeout, job, log, live)
        if code or outcome.error:
            _keep_failed(root, stage, out)
            raise _failure(root, plan, stage, outcome, code, log)
        _move_into_place(out, root / stage.out, workplace / "replaced")
    except WorkerLost as error:
        raise StageFailed(f"stage '{stage.id}' failed: {error.message}", error.remedy, shown) from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    _keep_timings(root, stage, outcome.seconds, outcome.timings)
    return outcome.seconds


def _run_process(
    root: Path,
    stage: PlannedStage,
    start: Callable[[], WorkerProcess],
    release: Callable[[WorkerProcess], None],
    timeout: float | None,
    job: Mapping[str, Any],
    log: Path,
    live: Live,
) -> tuple[Outcome, int]:
    outcome = Outcome()
    process = start()
    # not what a warm process needed for its imports, which others share
    started = time.monotonic()
    late = threading.Event()
    try:
        with log.open("w", encoding="utf-8") as file, _after(timeout, late, process.stop):
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(job) + "\n")
                process.stdin.flush()
            for line in _lines(process):
                _take_line(line, outcome, file.write, live)
                file.flush()
        # before its exit code, which says only that it was stopped
        if process.interrupted:
            raise Interrupted(f"stage '{stage.id}' was stopped with the run")
        code = process.wait()
        if late.is_set():
            raise StageFailed(
                f"stage '{stage.id}' failed: it took longer than {timeout:g} s",
                "raise --timeout, or give it less to do",
                log.relative_to(root).as_posix(),
                tuple(outcome.tail),
            )
        outcome.seconds = time.monotonic() - started
        return outcome, code
    finally:
        release(process)


def _lines(process: WorkerProcess) -> Iterator[str]:
    """What the process writes, line by line, until it has ended and nothing of it is left to read.

    A process that it has started in a session of its own may hold its output open for ever.
    """
    descriptor = process.stdout.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    rest = ""
    while True:
        if not poll.poll(_LOOK_MILLISECONDS):
            if process.has_ended():
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


def _take_line(line: str, outcome: Outcome, log: Callable[[str], object], live: Live) -> None:
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
    elif "timing" in said:
        outcome.timings[said["timing"]] = said["seconds"]
    elif "traceback" in said:
        log(said["traceback"])
    else:
        log(f"[error] {said['error']}\n")
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
    if place.exists():
        place.rename(replaced)
    fresh.rename(place)


def sweep(root: Path) -> None:
    """Delete what killed runs left in the running directory."""
    for left_over in (root / RUNNING).glob("*.*"):
        owner = left_over.name.rpartition(".")[2]
        if not (owner.isdigit() and _is_alive(int(owner))):
            shutil.rmtree(left_over, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def new_log(root: Path, name: str) -> Path:
    """Where a new log of the stage that DVC knows by that name goes; the oldest ones make room for it."""
    folder = root / LOGS / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.log"))[: -(LOGS_KEPT - 1)]:
        old.unlink(missing_ok=True)
    return folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.log"


def _keep_timings(root: Path, stage: PlannedStage, seconds: float, timings: Mapping[str, float]) -> None:
    path = root / TIMINGS / f"{stage.dvc_name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"seconds": seconds, **timings}, indent=2) + "\n", encoding="utf-8")


def read_timings(root: Path, stage: PlannedStage) -> dict[str, float]:
    """What the stage's last run on this machine took; empty if it never ran here."""
    try:
        timings: dict[str, float] = json.loads((root / TIMINGS / f"{stage.dvc_name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return timings


def data_roots(root: Path) -> tuple[Path, ...]:
    """Where downloaded datasets lie, in the order they are searched; relative places are the repository's."""
    if chosen := os.environ.get(DATA_ROOT_VARIABLE):
        places = chosen.split(os.pathsep)
    else:
        defaults = YAML(typ="safe").load((root / DEFAULTS).read_text(encoding="utf-8")) or {}
        said = defaults.get("data_root", "downloads")
        places = [said] if isinstance(said, str) else said
    return tuple((root / Path(place).expanduser()).resolve() for place in places)
