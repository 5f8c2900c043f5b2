"""Claims in a folder, over SSH and on S3: one has it, the others wait, and who dies loses it."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import psutil
import pytest
from dvc.repo import Repo

from recast.pipeline.core.errors import RecastError
from recast.pipeline.sharing import claims
from recast.pipeline.sharing.claims import FOLDER, Claims, Store
from tests.lib import remotes
from tests.lib import small_dvc as small
from tests.lib.drive import wait_until
from tests.lib.remotes import Remote
from tests.lib.remotes import each_kind as remote

__all__ = ["remote"]
KEY = "ab" + "0" * 62


@pytest.fixture
def store(tmp_path: Path, remote: Remote) -> Iterator[Store]:
    """The claims of a remote of each kind, by the file system that DVC opens for it."""
    place = small.lay(tmp_path / "clone")
    remote.add(place)
    with contextlib.chdir(place), contextlib.closing(Repo()) as repo:
        found = repo.cloud.get_remote()
        yield Store(found.fs, found.path)


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return Store(_Local(), str(tmp_path))


class _Local:
    protocol = "local"

    def __init__(self) -> None:
        self.fs = fsspec.filesystem("file")


def test_one_of_many_that_ask_at_once_has_it_and_each_has_it_once(store):
    inside, most, order = [0], [0], []
    lock = threading.Lock()

    def work(number: int) -> None:
        one = Claims(store, lease=30.0)
        try:
            while one.take(KEY, "work"):
                time.sleep(0.05)
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                order.append(number)
            time.sleep(0.05)
            with lock:
                inside[0] -= 1
            one.give_back(KEY)
        finally:
            one.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(order) == [0, 1, 2, 3, 4] and most == [1]
    assert store.names(store.place(FOLDER, "ab")) == []


def test_a_claim_is_told_free_when_it_is_given_back(store):
    freed = threading.Event()
    one, two = Claims(store, lease=30.0), Claims(store, freed.set, lease=30.0)
    assert one.take(KEY, "digits/train") == "" == one.take(KEY, "digits/train")
    assert "@" in two.take(KEY, "digits/train") and two.freed() == set()
    one.give_back(KEY)
    assert freed.wait(20) and two.freed() == {KEY} and two.freed() == set()
    assert two.take(KEY, "digits/train") == ""
    two.close()
    one.close()
    assert store.names(store.place(FOLDER, "ab")) == []


def test_who_is_silent_for_a_lease_loses_it_and_who_renews_keeps_it(folder, monkeypatch):
    alive, waiting = Claims(folder, lease=1.0), Claims(folder, lease=1.0)
    assert alive.take(KEY, "work") == ""
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        assert waiting.take(KEY, "work")
        time.sleep(0.1)
    alive.abandon()  # it dies: it gives nothing back
    wait_until(lambda: waiting.take(KEY, "work") == "", "the claim of a dead one ends", 20)
    assert folder.names(folder.place(FOLDER, "ab")) == [f"{KEY}.2"]
    waiting.close()
    assert folder.names(folder.place(FOLDER, "ab")) == []


def test_one_that_slept_does_not_take_away_what_another_has_now(folder):
    said: list[str] = []
    slept, other = Claims(folder, say=said.append, lease=0.5), Claims(folder, lease=30.0)
    assert slept.take(KEY, "work") == ""
    slept.abandon()
    wait_until(lambda: other.take(KEY, "work") == "", "it is taken over", 20)
    slept.renew(KEY)
    assert "another took it over" in said[0]
    slept.close()
    assert folder.names(folder.place(FOLDER, "ab")) == [f"{KEY}.2"]
    assert Claims(folder, lease=30.0).take(KEY, "work")
    other.close()


def test_no_clock_is_asked_but_the_waiters_own_for_how_long(folder, monkeypatch):
    """Times of files and the time of day may be anything."""
    monkeypatch.setattr(claims.time, "time", lambda: 0.0)
    one, two = Claims(folder, lease=30.0), Claims(folder, lease=30.0)
    assert one.take(KEY, "work") == ""
    path = Path(folder.place(FOLDER, "ab", f"{KEY}.1"))
    for when in (0, 4_000_000_000):
        os.utime(path, (when, when))
        assert two.take(KEY, "work")
    one.close()
    two.close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b'{"lease": NaN, "by": 7}',
        b'{"lease": -1}',
        b'{"lease": 1e999}',
        b'{"by": "\\u001b[2J"}',
    ],
)
def test_a_claim_that_says_nonsense_is_anothers_and_ends(folder, content, monkeypatch):
    monkeypatch.setattr(claims, "LEASE_SECONDS", 0.3)
    folder.create(folder.place(FOLDER, "ab", f"{KEY}.7"), content)
    one = Claims(folder, lease=0.3)
    assert one.take(KEY, "work") == "another run"
    wait_until(lambda: one.take(KEY, "work") == "", "it ends", 20)
    said: dict[str, Any] = json.loads(folder.read(folder.place(FOLDER, "ab", f"{KEY}.8")))
    assert said["what"] == "work" and said["token"]
    one.close()


def test_two_that_take_over_a_dead_one_at_once_are_not_both_its_holder(folder):
    for _ in range(10):
        dead = Claims(folder, lease=0.2)
        assert dead.take(KEY, "work") == ""
        dead.abandon()
        rivals = [Claims(folder, lease=30.0) for _ in range(4)]
        for one in rivals:
            assert one.take(KEY, "work")
        time.sleep(0.3)
        got: list[Claims] = []

        def attempt(one: Claims, got: list[Claims] = got) -> None:
            if not one.take(KEY, "work"):
                got.append(one)

        threads = [threading.Thread(target=attempt, args=(one,)) for one in rivals]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) <= 1
        for one in rivals:
            one.close()
        assert folder.names(folder.place(FOLDER, "ab")) in ([], [f"{KEY}.1"])
        folder.remove(folder.place(FOLDER, "ab", f"{KEY}.1"))


def test_a_remote_that_cannot_claim_is_refused():
    fs = _Local()
    fs.protocol = "webdav"
    with pytest.raises(RecastError, match=r"'webdav' has no way to claim work.*--pull --push"):
        Store(fs, "/nowhere")


@pytest.mark.slow
def test_a_claim_is_kept_although_its_connection_breaks(tmp_path):
    """The server stays, as after a network that was away for a while."""
    place = small.lay(tmp_path / "clone")
    with remotes.ssh(tmp_path / "sshd") as remote:
        remote.add(place)
        with contextlib.chdir(place), contextlib.closing(Repo()) as repo:
            found = repo.cloud.get_remote()
        said: list[str] = []
        one = Claims(Store(found.fs, found.path), say=said.append, lease=4.0)
        assert one.take(KEY, "work") == ""
        server = next(child for child in psutil.Process().children() if child.name() == "sshd")
        connections = server.children()
        assert connections
        for connection in connections:
            connection.kill()
        before = (tmp_path / f"sshd/remote/{FOLDER}/ab/{KEY}.1").read_bytes()
        wait_until(lambda: (tmp_path / f"sshd/remote/{FOLDER}/ab/{KEY}.1").read_bytes() != before, "it is renewed")
        assert not said
        one.close()
        assert not list((tmp_path / f"sshd/remote/{FOLDER}/ab").iterdir())
