"""The remote refuses, breaks off, falls silent or gives something else, at a random byte of what it answers.

A run that pulls or pushes then says so and ends, or goes on without it; the next completes, and the remote is whole.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from recast.pipeline.execution.events import State
from tests.faults.test_killed_pushes import loss_in
from tests.lib import drive, proxy, remotes
from tests.lib.remotes import Remote
from tests.lib.repeated import times
from tests.lib.tally import Tally

SEED = 19
TIMES = times(4)
MOST_BYTES = {"pull": 600_000, "push": 20_000}
"""what the remote answers in all, about"""
STAGES = {
    "one": drive.copies("one", ["in.txt"]),
    "folder": drive.stage(
        "folder",
        "mkdir -p folder; for i in 1 2 3 4; do { cat one; head -c 60000 /dev/zero | tr '\\0' $i; } > folder/$i; done",
        ["one"],
        ["folder"],
    ),
    "end": drive.stage("end", "cat folder/* > end", ["folder"], ["end"]),
    "apart": drive.copies("apart", ["in.txt"]),
}
TROUBLES: dict[str, tuple[proxy.Trouble, ...]] = {
    "s3": ("refuses", "breaks off", "falls silent", "garbles"),
    # a connection that is encrypted breaks off at the first byte that is another; that silence is noticed is tried
    # with hosts that are unplugged
    "ssh": ("refuses", "breaks off"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TROUBLES)
@pytest.mark.fault("remote that refuses, breaks off, falls silent or garbles, at a random byte of a pull or a push")
def test_a_remote_in_trouble(tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(drive, "PATIENCE", 240.0)
    chance, met = random.Random(SEED), 0
    with far_away(kind, tmp_path, monkeypatch) as (remote, between):
        place = drive.lay(tmp_path / "clone", {"in.txt": "0\n"}, STAGES)
        remote.add(place)
        assert not drive.run(place, push=True).result.failed
        for number in range(TIMES):
            trouble = chance.choice(TROUBLES[kind])
            what = chance.choice(("pull", "push"))
            if what == "push":
                (place / "in.txt").write_text(f"{number + 1}\n")
            else:
                forget(place, with_lock=chance.random() < 0.5)
            between.be(trouble, chance.randrange(MOST_BYTES[what]))
            with drive.running(place, 2, what) as run:
                code = run.end()
            met += between.met > 0
            between.be("none")
            said = f"{trouble}, {what}: it ended with {code}: {run.events} {''.join(run.noise)}"
            is_sound = code in (0, 1, 2) and not run.noise
            tally.count(loss_after(place) if is_sound else said)
        if kind == "ssh":
            assert loss_in(tmp_path / "sshd/remote") is None
    assert not tally.losses, tally.losses[:2]
    assert met > TIMES / 2  # or the moments are no test


@contextmanager
def far_away(kind: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Remote, proxy.Proxy]]:
    """A remote that is reached by a network of its own."""
    with (
        remotes.s3(monkeypatch) if kind == "s3" else remotes.ssh(place / "sshd") as near,
        proxy.before(("127.0.0.1", port_of(near))) as between,
    ):
        if kind == "s3":
            own = {"endpointurl": f"http://127.0.0.1:{between.port}", "read_timeout": "1"}
        else:
            own = {"port": str(between.port)}
        yield replace(near, shared={**near.shared, **own}), between


def port_of(remote: Remote) -> int:
    return int(remote.shared["port"]) if "port" in remote.shared else urlsplit(remote.shared["endpointurl"]).port or 0


def forget(place: Path, with_lock: bool) -> None:
    """All that a run has made here."""
    for name in ("folder", ".dvc/cache"):
        shutil.rmtree(place / name)
    for name in ("one", "end", "apart", *(["dvc.lock"] if with_lock else [])):
        (place / name).unlink()


def loss_after(place: Path) -> str | None:
    """What is lost once the remote is itself again: the run completes, sends all, and finds it again."""
    if (run := drive.run(place, pull=True, push=True)).result.failed or run.result.unpushed:
        return f"the next run does not complete: {run.events}"
    made = drive.files(place)
    if made["end"] != b"".join((made["in.txt"] + b"one\n" + b"%d" % i * 60000) for i in range(1, 5)):
        return "another result"
    drive.assert_cached(place)
    if left := drive.status(place):
        return f"it is not up to date: {left}"
    forget(place, with_lock=True)
    again = drive.run(place, pull=True)
    if again.named(State.CACHED) != set(STAGES) or drive.files(place) != made:
        return f"the remote does not have all of it: {again.events}"
    return None
