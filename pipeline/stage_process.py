"""Runs one planned stage as a process of its own and moves its output into place if it succeeds."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.environments import Environment, device
from pipeline.errors import RecastError, StageFailed
from pipeline.plan import Plan, PlannedStage
from pipeline.recipe import DEFAULTS
from stages.base import EVENT_MARK
from stages.registry import REGISTRY

RUNNING = ".recast/running"
LOGS = ".recast/logs"
TIMINGS = ".recast/timings"
DATA_ROOT_VARIABLE = "RECAST_DATA_ROOT"
LOGS_KEPT = 20
TAIL_LINES = 8

# every library that starts threads of its own reads one of these when it is loaded
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


@dataclass
class Outcome:
    """What the events of a stage's process said."""

    error: str = ""
    remedy: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    in_traceback: bool = False

    def keep_line(self, line: str) -> None:
        """Remember a line for the end of a failure; of a traceback only its last line, the log has it all."""
        if "Traceback (most recent call last)" in line:
            self.in_traceback = True
        elif not (self.in_traceback and line.startswith((" ", "\t"))):
            self.in_traceback = False
            self.tail.append(line)


def run_stage(
    root: Path, plan: Plan, stage: PlannedStage, environment: Environment, live: Callable[[str], None]
) -> float:
    """Run the stage and put its output in `artifacts/`; returns the seconds it took.

    `live` is called with the stage's short progress lines. Raises RecastError if an input is
    missing and StageFailed, after removing everything half-written, if the stage fails.
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
        log = _new_log(root, stage)
        started = time.monotonic()
        outcome, code = _run_process(root, stage, environment, job, log, live)
        seconds = time.monotonic() - started
        if code or outcome.error:
            raise _failure(root, stage, outcome, code, log)
        _move_into_place(out, root / stage.out, workplace / "replaced")
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    _keep_timings(root, stage, seconds, outcome.timings)
    return seconds


def _run_process(
    root: Path,
    stage: PlannedStage,
    environment: Environment,
    job: Mapping[str, Any],
    log: Path,
    live: Callable[[str], None],
) -> tuple[Outcome, int]:
    outcome = Outcome()
    command = [str(environment.python), "-m", "pipeline.worker"]
    variables = _variables(root, int(stage.params["resources"]["cpu"]))
    process = subprocess.Popen(
        command,
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
    assert process.stdin and process.stdout
    try:
        with log.open("w", encoding="utf-8") as file, contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                _take_line(line, outcome, file.write, live)
                file.flush()
        return outcome, process.wait()
    finally:
        _stop_group(process)


def _take_line(line: str, outcome: Outcome, log: Callable[[str], object], live: Callable[[str], None]) -> None:
    # a tool's progress bar may share the line with an event
    noise, mark, event = line.partition(EVENT_MARK)
    if noise.strip():
        log(noise if noise.endswith("\n") else f"{noise}\n")
        outcome.keep_line(noise.rstrip().rpartition("\r")[2])
    if not mark:
        return
    said: dict[str, Any] = json.loads(event)
    if "progress" in said:
        count = f"{said['done']}/{said['total']}" if said.get("total") else ""
        text = " ".join(part for part in (said["progress"], f"({count})" if count else "") if part)
        log(f"[progress] {text}\n")
        live(text)
    elif "timing" in said:
        outcome.timings[said["timing"]] = said["seconds"]
    elif "traceback" in said:
        log(said["traceback"])
    else:
        log(f"[error] {said['error']}\n")
        outcome.error, outcome.remedy = said["error"], said["remedy"]


def _stop_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, 15)
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _variables(root: Path, threads: int) -> dict[str, str]:
    """The process's environment: the thread budget, and nothing of the caller's Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    budget = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    return {
        **kept,
        **budget,
        "TF_NUM_INTEROP_THREADS": "1",
        # waiting threads that spin for long starve a busy machine (a training step took 172 ms, 124 ms so);
        # on an idle one this costs nothing measurable, while not spinning at all took 45 % more
        "GOMP_SPINCOUNT": "20000",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONPATH": str(root),
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def _failure(root: Path, stage: PlannedStage, outcome: Outcome, code: int, log: Path) -> StageFailed:
    shown = log.relative_to(root).as_posix()
    if outcome.error:
        message = f"stage '{stage.id}' failed: {outcome.error}"
        remedy = outcome.remedy
    else:
        reason = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        message = f"stage '{stage.id}' failed: its process {reason} without saying why"
        remedy = "its log may say more" + (" (signal 9 is often a lack of memory)" if code == -9 else "")
    tail = "".join(f"\n  | {line}" for line in outcome.tail)
    return StageFailed(message, f"{remedy}\n  log: {shown}{tail}" if remedy else f"its log: {shown}{tail}")


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


def _new_log(root: Path, stage: PlannedStage) -> Path:
    folder = root / LOGS / stage.dvc_name
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
