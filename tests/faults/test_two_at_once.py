"""Two runs that start together, in one clone or in two with one remote; places that cannot be written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.test_killed_pushes import loss_in
from tests.lib import drive, machines
from tests.lib import small_dvc as small
from tests.lib.remotes import Remote
from tests.lib.small_dvc import edit, save
from tests.lib.tally import Tally

TIMES = 8
STAGES = {
    "one": drive.copies("one", ["in.txt"]),
    "two": drive.copies("two", ["one"]),
    "apart": drive.copies("apart", ["in.txt"]),
}


@pytest.mark.slow
@pytest.mark.fault("two runs in one clone at once: each stage runs once, both end well")
def test_two_runs_in_one_clone(tmp_path: Path, tally: Tally) -> None:
    place = drive.lay(tmp_path / "clone", {"in.txt": ""}, STAGES)
    for number in range(1, TIMES + 1):
        (place / "in.txt").write_text(f"{number}\n")
        with drive.running(place) as first, drive.running(place) as second:
            codes = first.end(), second.end()
        ran = dict(drive.started(place))
        loss = None
        if codes != (0, 0):
            loss = f"they ended with {codes}: {first.noise} {second.noise}"
        elif ran != dict.fromkeys(STAGES, number):
            loss = f"stages ran {ran} times after {number} edits"
        elif (place / "two").read_text() != f"{number}\none\ntwo\n":
            loss = "another result"
        tally.count(loss)
    drive.assert_cached(place)
    assert not tally.losses, tally.losses


@pytest.mark.slow
@pytest.mark.fault("two clones that push the same results to one remote at once: it is whole, and a third pulls all")
def test_two_clones_push(tmp_path: Path, tally: Tally) -> None:
    remote = tmp_path / "remote"
    one = small.lay(tmp_path / "one")
    Remote(str(remote)).add(one)
    save(one, "remote")
    two, three = small.clone(one, tmp_path / "two"), small.clone(one, tmp_path / "three")
    for number in range(TIMES):
        for place in (one, two, three):
            edit(place, first=f"{number}\n", apart=f"{number}\n")
        with drive.running(one, 2, "push") as first, drive.running(two, 2, "push") as second:
            codes = first.end(), second.end()
        loss = loss_in(remote) or (f"they ended with {codes}: {first.events}" if codes != (0, 0) else None)
        (three / "ran.txt").unlink(missing_ok=True)
        pulled = drive.run(three, pull=True)
        if pulled.result.failed or (three / "ran.txt").exists() or (three / "second.out").read_text() != f"{number}\n":
            loss = loss or f"the third does not find all of it: {pulled.events}"
        tally.count(loss)
    assert not tally.losses, tally.losses


@pytest.mark.slow
@pytest.mark.fault("cache, an output's folder, or the whole repository read-only: said so, and the next run completes")
def test_what_cannot_be_written_to(tmp_path: Path, tally: Tally) -> None:
    stages = {**STAGES, "kept": drive.stage("kept", "cat one > out/kept", ["one"], ["out/kept"])}
    given = {"in.txt": "1\n", "out/.gitkeep": ""}
    undisturbed = drive.lay(tmp_path / "undisturbed", given, stages)
    assert not drive.run(undisturbed).result.failed
    for number, where in enumerate((".dvc/cache", "out", ".")):
        place = drive.lay(tmp_path / str(number), given, stages)
        (place / where).mkdir(parents=True, exist_ok=True)
        with machines.read_only(place / where), drive.running(place) as run:
            code = run.end()
        said = f"{run.events} {run.noise}"
        loss = None
        if code == 0 or "Read-only file system" not in said:
            loss = f"{where}: it ended with {code} and does not say why: {said[-1500:]}"
        elif drive.run(place).result.failed or drive.files(place) != drive.files(undisturbed):
            loss = f"{where}: the next run does not complete"
        drive.assert_cached(place)
        tally.count(loss)
    assert not tally.losses, tally.losses
