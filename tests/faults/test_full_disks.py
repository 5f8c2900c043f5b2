"""The disk fills up while a run goes on, at another moment each time: with room, the next run goes on as if it had not.

The space left is what decides where it fills: in a stage's output, DVC's cache, the run-cache, a log, dvc.lock.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.lib import drive, machines
from tests.lib.tally import Tally

SEED = 19
TIMES = 24
DISK_MIB = 8
# at most what a run writes in all
MOST_FREE_KB = 1200
STAGES = {
    "one": drive.stage("one", "head -c 100000 /dev/zero | tr '\\0' 1 > one", [], ["one"]),
    "two": drive.stage("two", "cat one one > two", ["one"], ["two"]),
    "both": drive.stage("both", "mkdir both && cp one two both", ["one", "two"], ["both"]),
    "last": drive.copies("last", ["both/two"]),
}


@pytest.mark.slow
@pytest.mark.fault("disk of the repository, its cache and its logs full at a random moment of a run")
def test_a_disk_that_fills_up(tmp_path: Path, tally: Tally) -> None:
    undisturbed = drive.lay(tmp_path / "undisturbed", {}, STAGES)
    assert not drive.run(undisturbed).result.failed
    chance, refused = random.Random(SEED), 0
    for number in range(TIMES):
        with machines.small_disk(tmp_path / str(number), DISK_MIB) as disk:
            place = drive.lay(disk / "repository", {}, STAGES)
            loss, was_full = filled(place, disk / "filler", chance.randrange(MOST_FREE_KB) * 1000)
            refused += was_full
            tally.count(loss or loss_after(place, undisturbed))
    assert not tally.losses, tally.losses
    assert refused > TIMES / 2  # or the moments are no test


def filled(place: Path, filler: Path, free: int) -> tuple[str | None, bool]:
    """A run with so many bytes of room, and then room: what is wrong with how it ended, and whether it failed."""
    left = shutil.disk_usage(place).free
    filler.write_bytes(b"\0" * max(0, left - free))
    with drive.running(place) as run:
        code = run.end()
    filler.unlink()
    if code == 0:
        return None, False
    said = f"{run.events} {run.noise}"
    if "No space left" not in said:
        return f"with {free} bytes free it failed without the cause: {said[-2000:]}", True
    return None, True


def loss_after(place: Path, undisturbed: Path) -> str | None:
    """What the next run does not have that an undisturbed one has."""
    found = drive.run(place)
    if found.result.failed:
        return f"the next run failed: {found.events}"
    if drive.files(place) != drive.files(undisturbed) or drive.locks(place) != drive.locks(undisturbed):
        return "the next run leaves something else"
    drive.assert_cached(place)
    before = drive.started(place)
    drive.run(place)
    return "it runs again what had finished" if drive.started(place) != before else None
