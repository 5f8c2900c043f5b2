"""Clones that start together share one remote: each stage runs once, whoever runs it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from recast.pipeline.execution.events import State
from recast.pipeline.sharing.claims import FOLDER
from tests.lib import drive
from tests.lib import small_dvc as small
from tests.lib.remotes import Remote
from tests.lib.remotes import each_kind as remote
from tests.lib.small_dvc import save

__all__ = ["remote"]

# the trunk ends when the test says so
STAGES = """\
stages:
  trunk:
    cmd: >-
      echo trunk >> ran.txt && for i in $(seq 1200); do test -e ../go && break; sleep 0.05; done && cp first.txt trunk
    deps: [first.txt]
    outs: [trunk]
  left:
    cmd: echo left >> ran.txt && cp trunk left
    deps: [trunk]
    outs: [left]
  right:
    cmd: echo right >> ran.txt && cp trunk right
    deps: [trunk]
    outs: [right]
"""


def clones(tmp_path: Path, remote: Remote) -> list[Path]:
    one = small.lay(tmp_path / "one")
    (one / "dvc.yaml").write_text(STAGES)
    (one / ".gitignore").write_text("/ran.txt\n/trunk\n/left\n/right\n/recast\n")
    remote.add(one)
    save(one, "remote")
    two = small.clone(one, tmp_path / "two")
    remote.know(two)
    for place in (one, two):
        (place / ".dvc/tmp").mkdir(exist_ok=True)
    return [one, two]


def ran(*places: Path) -> Counter[str]:
    return Counter(
        word for place in places if (place / "ran.txt").exists() for word in (place / "ran.txt").read_text().split()
    )


def is_waiting(event: dict[str, Any]) -> bool:
    return "is waited for" in event.get("text", "")


def test_two_that_start_together_run_every_stage_once(tmp_path, remote):
    one, two = clones(tmp_path, remote)
    with drive.running(one, 1, "share=30") as first, drive.running(two, 1, "share=30") as second:

        def let_go(run: drive.Driven) -> None:
            with contextlib.suppress(AssertionError):  # of the one that runs it, which ends without
                run.until(is_waiting)
                (tmp_path / "go").touch()

        threads = [threading.Thread(target=let_go, args=(run,)) for run in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert first.end() == second.end() == 0, (first.noise, second.noise)
    said = [run.events for run in (first, second)]
    assert ran(one, two) == {"trunk": 1, "left": 1, "right": 1}, said
    assert drive.locks(one) == drive.locks(two)
    assert (one / "left").read_text() == (two / "right").read_text() == "1\n"
    waits = [
        event["text"] for run in (first, second) for event in run.events if "is waited for" in event.get("text", "")
    ]
    assert any(text.startswith("trunk is run by ") for text in waits)
    done = first.named(State.DONE) | second.named(State.DONE)
    assert done == {"trunk", "left", "right"}


def test_a_run_that_is_killed_loses_its_claim_and_the_other_goes_on(tmp_path):
    one, two = clones(tmp_path, Remote(str(tmp_path / "remote")))
    with drive.running(one, 1, "share=2") as first:
        first.until_running("trunk")
        with drive.running(two, 1, "share=2") as second:
            second.until(is_waiting)
            first.process.kill()
            (tmp_path / "go").touch()
            assert second.end() == 0, second.noise
    assert second.named(State.DONE) == {"trunk", "left", "right"}
    assert [path for path in (tmp_path / "remote" / FOLDER).rglob("*") if path.is_file()] == []


def test_a_stage_that_fails_for_one_is_tried_by_the_other(tmp_path):
    one, two = clones(tmp_path, Remote(str(tmp_path / "remote")))
    failing = STAGES.replace("done && cp", "done && test ! -e fails && cp")
    for place in (one, two):
        (place / "dvc.yaml").write_text(failing)
    (one / "fails").touch()
    with drive.running(one, 1, "share=30") as first:
        first.until_running("trunk")
        with drive.running(two, 1, "share=30") as second:
            second.until(is_waiting)
            (tmp_path / "go").touch()
            assert second.end() == 0, second.noise
        assert first.end() == 1
    assert ran(two)["trunk"] == 1 and second.named(State.DONE) == {"trunk", "left", "right"}


def test_what_is_waited_for_ends_with_the_run_that_stops(tmp_path):
    """Ctrl-C while another has the stage: nothing of ours runs, and the claim stays the other's."""
    one, two = clones(tmp_path, Remote(str(tmp_path / "remote")))
    with drive.running(one, 1, "share=30") as first:
        first.until_running("trunk")
        with drive.running(two, 1, "share=30") as second:
            second.until(is_waiting)
            second.process.send_signal(signal.SIGINT)
            assert second.end() == 130
            (tmp_path / "go").touch()
        assert first.end() == 0
    assert ran(one) == {"trunk": 1, "left": 1, "right": 1} and ran(two) == {}
