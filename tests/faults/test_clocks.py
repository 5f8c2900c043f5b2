"""The clock is set back, or forward, between runs, and what was written has the times of then: every edit is seen."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recast.pipeline.execution.events import State
from tests.lib import drive, machines
from tests.lib.repeated import times
from tests.lib.tally import Tally

SEED = 19
TIMES = times(6)
MOST_DAYS = 400
STAGES = {
    "one": drive.copies("one", ["in.txt"]),
    "folder": drive.stage("folder", "mkdir -p folder; cp one folder/x", ["one"], ["folder"]),
    "end": drive.copies("end", ["folder/x"]),
}


@pytest.mark.slow
@pytest.mark.fault(
    "clock set back or forward by up to 400 days between runs: every edit is seen, nothing runs without one"
)
def test_a_clock_that_is_set(tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(SEED)
    place = drive.lay(tmp_path / "clone", {"in.txt": "00\n"}, STAGES)
    assert not drive.run(place).result.failed
    for name, value in machines.another_clock().items():
        monkeypatch.setenv(name, value)
    assert abs(clock_at("-400d") - time.time() + 400 * 86400) < 600  # or another clock is none
    for number in range(TIMES):
        days = chance.randint(-MOST_DAYS, MOST_DAYS)
        monkeypatch.setenv("FAKETIME", f"{days:+d}d")
        is_edited = chance.random() < 0.6
        if is_edited:
            (place / "in.txt").write_text(f"{number % 90 + 10}\n")  # of one size
            set_times(place / "in.txt", days)
        with drive.running(place, 2) as run:
            code = run.end()
        loss = None if code == 0 else f"it ended with {code}: {run.events} {run.noise}"
        wanted = set(STAGES) if is_edited else set()
        if not loss and run.named(State.RUNNING) != wanted:
            loss = f"{run.named(State.RUNNING)} ran, with an edit: {is_edited}"
        if not loss and (place / "end").read_text() != (place / "in.txt").read_text() + "one\nend\n":
            loss = f"another result: {(place / 'end').read_text()!r}"
        tally.count(loss)
        drive.assert_cached(place)
        for path in place.rglob("*"):
            is_ours = path.is_file() and not path.is_symlink() and ".git" not in path.relative_to(place).parts
            if is_ours and path.stat().st_mtime > time.time() - 60:
                set_times(path, days)
    assert not tally.losses, tally.losses[:3]


def clock_at(offset: str) -> float:
    asked = [sys.executable, "-c", "import time; print(time.time())"]
    return float(subprocess.run(asked, env={**os.environ, "FAKETIME": offset}, capture_output=True, check=True).stdout)


def set_times(path: Path, days: int) -> None:
    """As if it had been written with the clock so many days off, in whole seconds, which is what some disks note."""
    then = int(time.time()) + days * 86400
    os.utime(path, (then, then))
