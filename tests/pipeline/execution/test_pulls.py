"""What a run does whose remote cannot be asked, from the beginning or later: real DVC, and S3 by moto's server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from recast.pipeline.core.errors import Exit, RemoteFailed
from recast.pipeline.execution.events import Changed, Event, Message, State
from tests.lib import drive, proxy, remotes

STAGES = {
    "one": drive.copies("one", ["in.txt"]),
    "two": drive.stage("two", "mkdir -p two; cp one two/a; cat one one > two/b", ["one"], ["two"]),
    "three": drive.stage("three", "cat two/* > three", ["two"], ["three"]),
}


@pytest.fixture
def pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, proxy.Proxy]]:
    """A clone that has nothing, while the remote behind the proxy has all of it by its run-cache."""
    with remotes.s3(monkeypatch) as near:
        port = urlsplit(near.shared["endpointurl"]).port or 0
        with proxy.before(("127.0.0.1", port)) as between:
            place = drive.lay(tmp_path / "clone", {"in.txt": "x\n"}, STAGES)
            replace(near, shared={**near.shared, "endpointurl": f"http://127.0.0.1:{between.port}"}).add(place)
            assert not drive.run(place, push=True).result.failed
            forget(place, with_lock=True)
            yield place, between


def forget(place: Path, with_lock: bool) -> None:
    for name in ("two", ".dvc/cache"):
        shutil.rmtree(place / name)
    for name in ("one", "three", *(["dvc.lock"] if with_lock else [])):
        (place / name).unlink()


@pytest.mark.parametrize("has_lock", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_remote_that_cannot_be_asked_at_first_stops_what_wanted_it(pushed, has_lock):
    place, between = pushed
    if has_lock:
        drive.run(place, pull=True)
        forget(place, with_lock=False)
    between.be("refuses")
    with pytest.raises(RemoteFailed, match=r"^the remote cannot be asked: ") as caught:
        drive.run(place, pull=True)
    assert caught.value.remedy == "see that it can be reached ('recast share' looks), or run without it"
    assert caught.value.exit_code == Exit.BAD_INPUT and not drive.started(place)["one"] > 1
    between.be("none")
    again = drive.run(place, pull=True)
    assert again.named(State.UP_TO_DATE if has_lock else State.CACHED) == set(STAGES)
    assert drive.status(place) == {}


@pytest.mark.slow
def test_what_this_machine_has_is_no_answer_of_the_remote(pushed):
    place, between = pushed
    assert drive.run(place, ["one"]).named(State.DONE) == {"one"}
    (place / "one").unlink()
    (place / "dvc.lock").unlink()
    between.be("refuses")
    ended: list[str] = []
    with pytest.raises(RemoteFailed):
        drive.run(
            place, pull=True, seen=lambda event: ended.append(event.state) if isinstance(event, Changed) else None
        )
    assert ended == [State.CACHED]


def test_a_remote_that_is_lost_later_is_said_once_and_the_run_goes_on(pushed):
    place, between = pushed

    def break_off(event: Event) -> None:
        if isinstance(event, Changed) and event.stage == "one" and event.state is State.CACHED:
            between.be("refuses")

    run = drive.run(place, pull=True, seen=break_off)
    assert run.named(State.CACHED) == {"one"} and run.named(State.DONE) == {"two", "three"}
    assert sum("the remote cannot be asked: " in text for text in run.messages) == 1
    assert any(text.endswith("; the run goes on without it") for text in run.messages)
    assert (place / "three").read_text() == "x\none\n" * 3
    assert drive.status(place) == {}


@pytest.mark.slow
def test_what_could_not_be_fetched_is_said_once_and_not_on_the_terminal(pushed, capfd):
    place, between = pushed
    drive.run(place, pull=True)
    forget(place, with_lock=False)
    capfd.readouterr()
    between.be("breaks off")
    said: list[str] = []
    with pytest.raises(RemoteFailed):
        drive.run(place, pull=True, seen=lambda event: said.append(event.text) if isinstance(event, Message) else None)
    assert sum(text.startswith("dvc: failed to ") for text in said) <= 1
    assert "ERROR" not in "".join(capfd.readouterr())
