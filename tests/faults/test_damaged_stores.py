"""Files of DVC's cache, its run-cache and the remote are damaged at random, with their times kept: none is used."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.lib import drive
from tests.lib.damage import damaged, overwrite
from tests.lib.remotes import Remote
from tests.lib.repeated import times
from tests.lib.tally import Tally

SEED = 19
TIMES = times(20)
STAGES = {
    "one": drive.copies("one", ["in.txt"]),
    "folder": drive.stage(
        "folder", "mkdir -p folder/in; echo x > folder/x; cat one > folder/in/y", ["one"], ["folder"]
    ),
    "end": drive.stage("end", "cat folder/x folder/in/y > end", ["folder"], ["end"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("store", ["cache", "remote", "both"])
@pytest.mark.fault("files of the cache, the run-cache or the remote cut, emptied or changed, with their times kept")
def test_damaged_files(tmp_path: Path, tally: Tally, store: str) -> None:
    chance, before, struck = random.Random(f"{SEED} {store}"), list(tally.losses), 0
    place, remote = drive.lay(tmp_path / "clone", {"in.txt": "1\n"}, STAGES), tmp_path / "remote"
    Remote(str(remote)).add(place)
    assert not drive.run(place, push=True).result.failed
    made = drive.files(place)
    for _ in range(TIMES):
        # a run leaves in the cache and the remote what the last one was damaged in, made right
        folders = [*([place / ".dvc/cache"] if store != "remote" else []), *([remote] if store != "cache" else [])]
        there = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        hit = chance.sample(there, chance.randint(1, len(there)))
        for path in hit:
            strike(path, chance)
        is_gone = chance.random() < 0.7
        forget(place, [name for name in ("one", "folder", "end") if is_gone and chance.random() < 0.7])
        if chance.random() < 0.3:
            (place / "dvc.lock").unlink()
        if store == "remote":
            shutil.rmtree(place / ".dvc/cache", ignore_errors=True)
        run = drive.run(place, pull=chance.random() < 0.5 or store == "remote", push=True)
        struck += any("damaged" in message for message in run.messages)
        loss = f"it failed: {run.events}" if run.result.failed else None
        if not loss and drive.files(place) != made:
            loss = f"another result: {run.messages}"
        if not loss and (left := drive.status(place)):
            loss = f"it is not up to date: {left}"
        tally.count(loss)
        drive.assert_cached(place)
        shutil.rmtree(remote)
        assert not drive.run(place, push=True).result.failed
    assert tally.losses == before, tally.losses[:3]
    assert struck > TIMES / 4  # or nothing was looked at


def strike(path: Path, chance: random.Random) -> None:
    """Damage a file so that DVC would not look at it again."""
    content = path.read_bytes()
    is_emptied = chance.random() < 0.2 or not content
    overwrite(path, b"" if is_emptied else next(damaged(content, 1, chance.randrange(2**32))))


def forget(place: Path, names: list[str]) -> None:
    for name in names:
        shutil.rmtree(place / name) if name == "folder" else (place / name).unlink()
