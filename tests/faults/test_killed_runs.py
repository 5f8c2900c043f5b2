"""`kill -9` of a run at random moments: of the runner, of a process below it, of all at once; with workers too.

Every next run goes on from what had finished, nothing finished runs again, and in the end all is as in a run that
nobody disturbed.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.lib.remotes import Remote
from tests.lib.repeated import times
from tests.lib.repository import call, commit, copy_repository, hashes
from tests.lib.tally import Tally

RECIPE = """\
model: models.digits_cnn:DigitsCnn
stages:
  data: {dataset: digits, resize: 28, train_samples: 300, test_samples: 100}
  train: {epochs: 1, batch_size: 64, optimizer: adam, lr: 2.0e-3}
  export: {opset: 18}
targets:
  onnxruntime: {}
  c: {}
"""
RUN = ("./recast", "run", "digits", "--target", "onnxruntime", "--target", "c")
DONE = re.compile(r"\] (digits\S*): done in")
RUNNING = re.compile(r"\] (digits\S*): running")
KILLS, WORKER_KILLS = times(16), times(6)
BEFORE_S, WITHIN_S = 8.0, 3.0
"""the latest moment of a kill: from the start of a run, or from that of a stage in it"""
GONE_S = 10.0
HANG_S = 600.0
"""many times what a whole run takes"""


@pytest.mark.slow
@pytest.mark.fault("runner, stage process or both killed (SIGKILL) at a random moment of a run")
def test_a_run_that_is_killed_again_and_again(tmp_path: Path, tally: Tally) -> None:
    undisturbed, killed = laid(tmp_path / "undisturbed"), laid(tmp_path / "killed")
    call(undisturbed, *RUN)
    kill_again_and_again(killed, undisturbed, tally, KILLS)


@pytest.mark.slow
@pytest.mark.fault(
    "driver, worker, a process below one, or all killed (SIGKILL) at a random moment of a run on workers"
)
def test_a_run_on_workers_that_is_killed_again_and_again(tmp_path: Path, tally: Tally) -> None:
    pytest.importorskip("distributed")
    remote = Remote(str(tmp_path / "remote"))
    undisturbed, killed = laid(tmp_path / "undisturbed", remote), laid(tmp_path / "killed", remote)
    call(undisturbed, *RUN)
    kill_again_and_again(killed, undisturbed, tally, WORKER_KILLS, "--on", "local:2")


def kill_again_and_again(killed: Path, undisturbed: Path, tally: Tally, kills: int, *on: str) -> None:
    choose, finished, completed, at_work = random.Random(19), set[str](), False, 0
    for _ in range(kills):
        said, below = killed_run(killed, choose, *on)
        at_work += len(RUNNING.findall(said)) > len(DONE.findall(said))
        again = finished & set(RUNNING.findall(said))
        finished |= set(DONE.findall(said))
        _, alive = psutil.wait_procs(below, GONE_S)
        left = [command for process in alive if (command := command_of(process))]
        losses = [f"{sorted(again)} ran again"] if again else []
        losses += [f"{left} are left"] if left else []
        tally.count("; ".join(losses) or None)
        completed = completed or hashes_or_none(killed) == hashes(undisturbed)
        if completed:
            # what is up to date has nothing to be killed at: from the beginning, with nothing that is kept
            (killed / "dvc.lock").unlink()
            for clone in (killed, *(killed / ".recast/workers").glob("[0-9]")):
                call(clone, "git", "clean", "-fdxq", "artifacts")
                call(clone, "rm", "-rf", ".dvc/cache")
            call(killed, "rm", "-rf", str(killed.parent / "remote"))
            finished, completed = set(), False
    last = call(killed, *RUN, *on)
    assert not finished & set(RUNNING.findall(last.stdout))
    assert hashes(killed) == hashes(undisturbed)
    same = contents(undisturbed)
    assert same and contents(killed) == same
    for place in (killed, *(killed / ".recast/workers").glob("[0-9]")):
        assert not [*(place / ".recast/running").glob("*")]
    assert not tally.losses, tally.losses[:3]
    assert at_work >= kills / 4  # or the moments are no test


def laid(place: Path, remote: Remote | None = None) -> Path:
    place.mkdir()
    copy_repository(place)
    for recipe in (place / "recipes").glob("*.yaml"):
        recipe.unlink()
    (place / "recipes/digits.yaml").write_text(RECIPE)
    (place / "dvc.yaml").unlink()
    if remote:
        remote.add(place)
        (place / "device.txt").write_text("cpu\n")
    call(place, "./recast", "sync")
    commit(place, "digits alone")
    return place


def killed_run(repository: Path, choose: random.Random, *on: str) -> tuple[str, set[psutil.Process]]:
    """A run that is killed, or had ended before: what it said, and all the processes that it had."""
    log = repository / ".recast/killed.log"
    log.parent.mkdir(exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    with log.open("w") as file:
        runner = psutil.Popen(
            [*RUN, *on], cwd=repository, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment,
            process_group=0,
        )  # fmt: skip
    in_a_stage = choose.random() < 0.6
    ends = time.monotonic() + choose.uniform(0.3, BEFORE_S)
    below: set[psutil.Process] = set()
    while (in_a_stage or time.monotonic() < ends) and runner.poll() is None:
        if in_a_stage and RUNNING.search(log.read_text()):
            in_a_stage, ends = False, time.monotonic() + choose.uniform(0, WITHIN_S)
        with contextlib.suppress(psutil.NoSuchProcess):
            below.update(runner.children(recursive=True))
        time.sleep(0.02)
    whom = choose.choice(("the runner", "a process", "all"))
    alive = [process for process in below if process.is_running()]
    victims = {
        "the runner": [runner],
        "a process": [choose.choice(alive)] if alive else [runner],
        "all": [runner, *alive],
    }
    for victim in victims[whom]:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            victim.send_signal(signal.SIGKILL)
    # where another process was killed, the run says so and ends by itself, or goes on without, to its end
    runner.wait(HANG_S)
    return log.read_text(), below


def command_of(process: psutil.Process) -> list[str]:
    """How it began; nothing of one that has ended, if only the system has not noted it yet."""
    try:
        return process.cmdline()[:4]
    except psutil.NoSuchProcess:  # a zombie too
        return []


def hashes_or_none(repository: Path) -> dict[str, object] | None:
    return hashes(repository) if (repository / "dvc.lock").exists() else None


def contents(repository: Path) -> dict[str, bytes]:
    """What the run made, but for what was measured on the clock."""
    artifacts = repository / "artifacts"
    return {
        path.relative_to(artifacts).as_posix(): path.read_bytes() for path in artifacts.rglob("*") if path.is_file()
    }
