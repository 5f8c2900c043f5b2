"""Runs that share their work are killed while they push: what the remote has is whole, and the next run goes on."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from recast.pipeline.execution.events import State
from tests.lib import drive
from tests.lib import small_dvc as small
from tests.lib.remotes import Remote
from tests.lib.small_dvc import edit, save
from tests.lib.tally import Tally

KILLS = 5
SEED = 19


def loss_in(remote: Path) -> str | None:
    """What of a remote is not what it says: objects by their names, entries of the run-cache by what they lead to."""
    objects = {path.parent.name + path.name: path for path in (remote / "files/md5").glob("??/*")}
    for oid, path in objects.items():
        if not re.fullmatch(r"[0-9a-f]{32}(\.dir)?", oid):
            continue  # what a killed one was writing, under a name that nobody asks for
        if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != oid.removesuffix(".dir"):
            return f"{path} is damaged"
    for path in (remote / "runs").glob("??/*/*"):
        if not re.fullmatch("[0-9a-f]{64}", path.name):
            continue
        for out in YAML(typ="safe").load(path.read_text())["outs"]:
            listed = [out["md5"]]
            if out["md5"].endswith(".dir") and out["md5"] in objects:
                listed += [entry["md5"] for entry in json.loads(objects[out["md5"]].read_text())]
            if missing := [oid for oid in listed if oid not in objects]:
                return f"{path} leads to {missing}, which is not there"
    return None


@pytest.mark.slow
@pytest.mark.fault("run that shares its work killed (SIGKILL) as it runs and pushes: the remote is whole")
def test_a_killed_push_leaves_a_remote_that_is_whole(
    tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "PATIENCE", 240.0)  # a run from nothing, on a machine that has other work
    chance = random.Random(SEED)
    remote = tmp_path / "remote"
    one = small.lay(tmp_path / "one")
    Remote(str(remote)).add(one)
    save(one, "remote")
    two = small.clone(one, tmp_path / "two")
    for place in (one, two):
        (place / ".dvc/tmp").mkdir(exist_ok=True)
    for number in range(KILLS):
        edit(one, first=f"{number}\n", apart=f"{number}\n")
        edit(two, first=f"{number}\n", apart=f"{number}\n")
        with drive.running(one, 2, "share=1") as killed:
            killed.until_running("first")
            time.sleep(chance.uniform(0.0, 2.0))
        loss = loss_in(remote)
        with drive.running(two, 2, "share=1") as other:
            if other.end() != 0 and not loss:
                loss = f"the other run failed: {other.events} {other.noise}"
        if (two / "second.out").read_text() != f"{number}\n":
            loss = loss or "the other run has another result"
        tally.count(loss or loss_in(remote))
    after = drive.run(one, pull=True)
    if (one / "second.out").read_text() != f"{KILLS - 1}\n" or after.named(State.FAILED):
        tally.losses.append("the killed one does not go on")
    assert tally.losses == [], tally.losses
