"""Locks merge stage by stage: the rules on plain values, then by real git on locks the real DVC wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import load_yaml

from recast.pipeline.core.errors import RecastError
from recast.pipeline.dvc.lock_merge import Finding, Merged, as_text, merge, merge_files
from recast.pipeline.dvc.lockfile import parse_lock, read_lock, write_lock
from recast.pipeline.sharing import checks
from tests.lib import small_dvc as small
from tests.lib.repository import git
from tests.lib.small_dvc import attempt, edit, is_up_to_date, run, save

# -- plain values


def entry(out: str = "o", *, md5: str = "1", cmd: str = "c", lr: object = 1, **deps: str) -> dict[str, Any]:
    return {
        "cmd": cmd,
        "deps": [{"path": path, "hash": "md5", "md5": value} for path, value in deps.items()],
        "params": {"params.yaml": {"lr": lr}},
        "outs": [{"path": out, "hash": "md5", "md5": md5}],
    }


def lock(**stages: dict[str, Any]) -> dict[str, Any]:
    return {"schema": "2.0", "stages": stages}


def stages(merged: Merged) -> dict[str, Any]:
    return merged.document["stages"]


ONE, TWO, THREE = (entry("x", md5=md5, a=md5) for md5 in "123")


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "result"),
    [
        ({"a": ONE}, {"a": ONE}, {"a": TWO}, {"a": TWO}),
        ({"a": ONE}, {"a": TWO}, {"a": ONE}, {"a": TWO}),
        ({"a": ONE}, {"a": TWO}, {"a": TWO}, {"a": TWO}),
        ({}, {"a": ONE}, {}, {"a": ONE}),
        ({}, {}, {"a": ONE}, {"a": ONE}),
        ({}, {"a": ONE}, {"a": ONE}, {"a": ONE}),
        ({"a": ONE}, {}, {"a": ONE}, {}),
        ({"a": ONE}, {"a": ONE}, {}, {}),
        ({"a": ONE}, {}, {}, {}),
        ({}, {"b": ONE}, {"a": entry("y")}, {"a": entry("y"), "b": ONE}),
    ],
)
def test_what_one_side_changed_or_both_alike_is_taken(base, ours, theirs, result):
    merged = merge(lock(**base), lock(**ours), lock(**theirs))
    assert stages(merged) == result and list(stages(merged)) == sorted(result)
    assert merged.findings == () and as_text(merged) == ""


def test_what_both_sides_ran_differently_stays_ours_and_is_named_with_its_inputs():
    ours = entry("x", md5="2", cmd="c", lr=0.1, **{"data.csv": "1", "gone": "1"})
    theirs = entry("x", md5="3", cmd="d", lr=None, **{"data.csv": "2"})
    merged = merge(lock(a=ONE), lock(a=ours), lock(a=theirs))
    assert stages(merged) == {"a": ours} and merged.runs_again == ("a",)
    (finding,) = merged.findings
    assert "different commands, 'data.csv', 'gone', lr in params.yaml" in finding.why
    assert "1 stage must run again" in as_text(merged) and "recast run" in as_text(merged)


def test_equal_inputs_with_other_outputs_are_called_not_deterministic_and_need_no_run():
    merged = merge(lock(), lock(a=entry("x", md5="1", i="1")), lock(a=entry("x", md5="2", i="1")))
    assert "not deterministic" in merged.findings[0].why and merged.runs_again == ()
    assert stages(merged)["a"]["outs"][0]["md5"] == "1" and "nothing has to run again" in as_text(merged)


@pytest.mark.parametrize(("ours", "theirs"), [({}, {"a": TWO}), ({"a": TWO}, {})])
def test_what_one_side_removed_and_the_other_ran_is_kept_and_named(ours, theirs):
    merged = merge(lock(a=ONE), lock(**ours), lock(**theirs))
    assert stages(merged) == {"a": TWO} and merged.runs_again == ("a",)


def test_a_stage_that_read_what_the_other_branch_made_anew_is_named():
    old, new = entry("model", md5="old", data="1"), entry("model", md5="new", data="2")
    reader = entry("report", md5="r", lr=2, model="old")
    merged = merge(
        lock(train=old, report=entry("report", model="old")), lock(train=new), lock(train=old, report=reader)
    )
    assert merged.runs_again == ("report",) and stages(merged) == {"train": new, "report": reader}
    assert any("'model' as it was before 'train' made it anew" in finding.why for finding in merged.findings)


def test_the_device_that_a_machine_has_chosen_is_nothing_to_settle():
    cpu, cuda = ({"cmd": "c", "outs": [{"path": "device.txt", "hash": "md5", "md5": md5}]} for md5 in ("cpu", "cuda"))
    one, two = (entry("artifacts/one/train", **{"device.txt": md5}) for md5 in ("cpu", "cuda"))
    merged = merge(
        lock(), {"stages": {"guard-device": cpu, "one": one}}, {"stages": {"guard-device": cuda, "two": two}}
    )
    assert stages(merged) == {"guard-device": cpu, "one": one, "two": two}
    assert merged.runs_again == () and as_text(merged) == ""


def test_only_equal_paths_and_equal_ways_of_hashing_are_compared():
    tree = entry("model", md5="tree.dir")
    inside = entry("report", **{"model/weights": "1"})
    legacy = entry("other", model="2")
    del legacy["deps"][0]["hash"]
    assert merge(lock(), lock(train=tree), lock(report=inside, other=legacy)).findings == ()


def test_data_sets_merge_by_name_and_unknown_keys_as_a_whole():
    def document(later: str, **sets: int) -> dict[str, Any]:
        return {**lock(), "datasets": [{"name": name, "v": v} for name, v in sets.items()], "later": later}

    merged = merge(document("a", x=1, y=1, z=1), document("a", x=2, y=1, n=1), document("b", x=1, y=3, z=1)).document
    assert merged["datasets"] == [{"name": "x", "v": 2}, {"name": "y", "v": 3}, {"name": "n", "v": 1}]
    assert merged["later"] == "b" and merged["schema"] == "2.0"
    assert merge(lock(), lock(), document("a", x=1)).document["datasets"] == [{"name": "x", "v": 1}]


def test_merging_files_writes_over_ours_and_reads_an_empty_base(tmp_path):
    base, ours, theirs = (tmp_path / name for name in ("base", "ours", "theirs"))
    base.write_text("")
    write_lock(ours, lock(b=ONE))
    write_lock(theirs, lock(a=entry("y")))
    assert merge_files(base, ours, theirs).findings == ()
    assert load_yaml(str(ours)) == lock(a=entry("y"), b=ONE)


@pytest.mark.parametrize("broken", ["base", "ours", "theirs"])
def test_nothing_is_written_where_a_file_is_no_lock(tmp_path, broken):
    for name in ("base", "ours", "theirs"):
        write_lock(tmp_path / name, lock(a=ONE))
    (tmp_path / broken).write_text("schema: '2.0'\n<<<<<<< HEAD\n")
    before = (tmp_path / "ours").read_text()
    with pytest.raises(RecastError, match="conflict markers"):
        merge_files(tmp_path / "base", tmp_path / "ours", tmp_path / "theirs")
    assert (tmp_path / "ours").read_text() == before


def test_a_finding_reads_as_a_line():
    assert str(Finding("a", "why")) == "a: why"


# -- real git, real DVC


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in a path with a space, everything run and committed."""
    place = small.lay(tmp_path_factory.mktemp("merging") / "a b")
    assert run(place) == ["apart", "first", "second"]
    save(place, "run")
    return place


@pytest.fixture
def repository(origin, tmp_path) -> Path:
    """A clone with the cache of its origin."""
    place = small.clone(origin, tmp_path / "c d")
    small.dvc(place, "cache", "dir", "--local", str(origin / ".dvc/cache"))
    small.dvc(place, "checkout", "--quiet")
    assert is_up_to_date(place)
    return place


def on_branches(repository: Path, *, ours: dict[str, str], theirs: dict[str, str]) -> None:
    """`theirs` run and committed on a branch of that name, `ours` on main, which is left checked out."""
    for branch, contents in (("theirs", theirs), ("main", ours)):
        git(repository, "checkout", "--quiet", *(["-b"] if branch == "theirs" else []), branch)
        small.dvc(repository, "checkout", "--quiet")
        edit(repository, **contents)
        run(repository)
        save(repository, branch)


@pytest.mark.parametrize(
    "command", [("merge", "--no-edit", "theirs"), ("rebase", "theirs"), ("cherry-pick", "theirs")], ids=lambda c: c[0]
)
def test_branches_that_ran_different_stages_come_together_without_a_conflict(repository, command):
    on_branches(repository, ours={"first": "2\n"}, theirs={"apart": "2\n"})
    done = attempt(repository, "git", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "must run again" not in done.stderr
    small.dvc(repository, "checkout", "--quiet")
    assert is_up_to_date(repository) and run(repository) == []
    assert (repository / "second.out").read_text() == "2\n" == (repository / "apart.out").read_text()


def test_entries_added_side_by_side_conflict_in_git_alone_and_merge_with_the_driver(repository):
    git(repository, "rm", "--quiet", "dvc.lock")
    run(repository, "first")
    save(repository, "first alone")
    for branch, stage in (("theirs", "apart"), ("main", "second")):
        git(repository, "checkout", "--quiet", *(["-b"] if branch == "theirs" else []), branch)
        run(repository, stage)
        save(repository, branch)
    git(repository, "config", "--remove-section", "merge.recast-lock")
    assert "CONFLICT" in attempt(repository, "git", "merge", "--no-edit", "theirs").stdout
    git(repository, "merge", "--abort")
    checks.install_merge_driver(repository)
    git(repository, "merge", "--quiet", "--no-edit", "theirs")
    assert list(read_lock(repository / "dvc.lock")["stages"]) == ["apart", "first", "second"]
    assert is_up_to_date(repository)


def test_a_stage_both_branches_ran_is_named_and_runs_once_more(repository):
    on_branches(repository, ours={"first": "2\n"}, theirs={"first": "3\n"})
    done = attempt(repository, "git", "merge", "--no-edit", "-X", "theirs", "theirs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "first: both branches ran it, with different 'first.txt'" in done.stderr
    assert "second: both branches ran it, with different 'first'" in done.stderr and "apart" not in done.stderr
    small.dvc(repository, "checkout", "--quiet")
    assert "first" in small.dvc(repository, "status") and run(repository) == []  # all in the run-cache
    assert (repository / "second.out").read_text() == "3\n" and is_up_to_date(repository)


def test_a_reader_of_what_the_other_branch_made_anew_is_named_and_runs(repository):
    git(repository, "checkout", "--quiet", "-b", "theirs")
    (repository / "params.yaml").write_text("second: 2\n")
    assert run(repository) == ["second"]
    save(repository, "theirs")
    git(repository, "checkout", "--quiet", "-b", "ours", "main")
    edit(repository, first="7\n")
    assert run(repository, "first") == ["first"]
    save(repository, "ours")
    done = attempt(repository, "git", "merge", "--no-edit", "theirs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "second: it read 'first' as it was before 'first' made it anew" in done.stderr
    small.dvc(repository, "checkout", "--quiet")
    assert run(repository) == ["second"] and is_up_to_date(repository)


def test_a_lock_that_both_sides_added_merges_without_an_ancestor(repository):
    git(repository, "rm", "--quiet", "dvc.lock")
    save(repository, "without")
    for branch, stage in (("theirs", "apart"), ("main", "second")):
        git(repository, "checkout", "--quiet", *(["-b"] if branch == "theirs" else []), branch)
        run(repository, stage)
        save(repository, branch)
    git(repository, "merge", "--quiet", "--no-edit", "theirs")
    assert list(read_lock(repository / "dvc.lock")["stages"]) == ["apart", "first", "second"]
    assert is_up_to_date(repository)


def test_where_the_driver_fails_git_reports_the_conflict_and_keeps_our_lock(repository):
    on_branches(repository, ours={"first": "2\n"}, theirs={"apart": "2\n"})
    git(repository, "checkout", "--quiet", "theirs")
    (repository / "dvc.lock").write_text("schema: '9'\n")
    save(repository, "broken")
    git(repository, "checkout", "--quiet", "main")
    ours = (repository / "dvc.lock").read_text()
    done = attempt(repository, "git", "merge", "--no-edit", "theirs")
    assert done.returncode == 1 and "schema is '9'" in done.stderr
    assert "UU dvc.lock" in attempt(repository, "git", "status", "--porcelain").stdout
    assert parse_lock((repository / "dvc.lock").read_text()) == parse_lock(ours)
