"""What a run sends to the remote while it goes on: by the executor, the real DVC, and remotes of three kinds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.execution.events import Changed, State
from recast.pipeline.sharing import checks
from tests.lib import drive
from tests.lib import small_dvc as small
from tests.lib.remotes import Remote
from tests.lib.remotes import each_kind as remote
from tests.lib.small_dvc import dvc, edit, is_up_to_date, save

__all__ = ["remote"]


def run(place: Path, targets: Sequence[str] = ("dvc.yaml",), **options: bool) -> drive.Run:
    (place / ".dvc/tmp").mkdir(exist_ok=True)
    return drive.run(place, targets, **options)


def laid(tmp_path: Path, remote: Remote) -> tuple[Path, Path]:
    """A repository with the remote, and a clone of it."""
    one = small.lay(tmp_path / "one")
    remote.add(one)
    save(one, "remote")
    two = small.clone(one, tmp_path / "two")
    remote.know(two)
    return one, two


def test_what_was_pushed_is_pulled_by_whoever_has_the_inputs_and_no_lock(tmp_path, remote):
    one, two = laid(tmp_path, remote)
    assert run(one, push=True).named(State.DONE) == {"first", "second", "apart"}
    found = {check.name: check.state for check in checks.checks(one)}
    assert found["results"] == found["run-cache"] == checks.State.OK
    # not by dvc.lock, which was not committed: by the run-cache
    assert run(two, pull=True).named(State.CACHED) == {"first", "second", "apart"}
    assert drive.locks(two) == drive.locks(one) and is_up_to_date(two)
    assert (two / "first/copy").read_text() == "1\n" and not (two / "ran.txt").exists()


def test_what_was_there_before_is_pushed_too_and_only_what_the_remote_lacks(tmp_path):
    one, two = laid(tmp_path, Remote(str(tmp_path / "remote")))
    run(one)
    assert not (tmp_path / "remote").exists()
    assert run(one, push=True).named(State.UP_TO_DATE) == {"first", "second", "apart"}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "remote").rglob("*") if path.is_file()}
    assert len([path for path in before if "runs" in path.parts]) == 3
    edit(one, apart="2\n")
    assert run(one, push=True).named(State.DONE) == {"apart"}
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "remote").rglob("*") if path.is_file()}
    assert before.items() < after.items() and len(after) == len(before) + 2
    edit(two, apart="2\n")
    assert run(two, pull=True).named(State.CACHED) == {"first", "second", "apart"}


def test_each_result_is_there_before_the_run_ends(tmp_path):
    """The second command finds what the first made in the remote."""
    remote = tmp_path / "remote"
    stages = {
        "slow": drive.stage("slow", "echo slow > slow", [], ["slow"]),
        "looks": drive.stage(
            "looks", f"for i in $(seq 600); do ls {remote}/runs 2>/dev/null && break; sleep 0.05; done > looks",
            ["slow"], ["looks"],
        ),
    }  # fmt: skip
    stages["slow"]["deps"] = ["src"]
    root = drive.lay(tmp_path / "one", {"src": "x\n"}, stages)
    dvc(root, "remote", "add", "--quiet", "--default", "shared", str(remote))
    assert drive.run(root, push=True).named(State.DONE) == {"slow", "looks"}
    assert (root / "looks").read_text().strip()


def test_a_remote_that_refuses_stops_no_stage_and_is_said_with_what_it_lacks(tmp_path):
    one, _ = laid(tmp_path, Remote(str(tmp_path / "remote")))
    (tmp_path / "remote").write_text("a file stands where the folder should be")
    found = run(one, push=True)
    assert found.named(State.DONE) == {"first", "second", "apart"}
    assert sorted(found.result.unpushed) == ["apart", "first", "second"]
    assert [text for text in found.messages if "tried again at the end" in text] and "may not have" in found.messages[
        -1
    ]
    (tmp_path / "remote").unlink()
    assert run(one, push=True).result.unpushed == ()
    assert dvc(one, "status", "--cloud").strip().endswith("in sync.")


def test_a_remote_that_comes_back_has_everything_at_the_end(tmp_path):
    one, two = laid(tmp_path, Remote(str(tmp_path / "remote")))
    (tmp_path / "remote").write_text("in the way")
    told: list[str] = []

    def seen(event: object) -> None:
        if "tried again at the end" in getattr(event, "text", ""):
            (tmp_path / "remote").unlink()
        if isinstance(event, Changed):
            told.append(event.stage)

    assert drive.run(one, jobs=1, push=True, seen=seen).result.unpushed == () and told
    assert run(two, pull=True).named(State.CACHED) == {"first", "second", "apart"}


def test_there_must_be_a_remote_and_one_that_has_a_run_cache(tmp_path):
    one = small.lay(tmp_path / "one")
    with pytest.raises(RecastError, match=r"no DVC remote to push to.*drop --push"):
        run(one, push=True)
    dvc(one, "remote", "add", "--quiet", "--default", "shared", str(tmp_path / "remote"))
    dvc(one, "remote", "modify", "shared", "worktree", "true")
    with pytest.raises(RecastError, match="holds no run-cache"):
        run(one, push=True)
    assert not (one / "ran.txt").exists()


def test_a_run_cache_entry_that_another_is_just_sending_is_not_taken_for_one(tmp_path):
    """Its folder is there before it, and over SSH a file of another name; once it is there it is found."""
    one, two = laid(tmp_path, Remote(str(tmp_path / "remote")))
    run(one, push=True)
    entries = [path for path in (tmp_path / "remote/runs").rglob("*") if path.is_file()]
    for entry in entries:
        entry.rename(entry.with_name("tmp1234"))
    assert run(two, ["first"], pull=True).named(State.DONE) == {"first"}
    shutil.rmtree(two / ".dvc/cache")
    (two / "dvc.lock").unlink()
    shutil.rmtree(two / "first")
    for entry in entries:
        entry.with_name("tmp1234").rename(entry)
    assert run(two, pull=True).named(State.CACHED) == {"first", "second", "apart"}
