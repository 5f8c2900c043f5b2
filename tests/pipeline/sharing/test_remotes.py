"""Two clones share results through one remote: a folder, S3 and SSH, by the real DVC and git."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recast.pipeline.sharing import checks
from recast.pipeline.sharing.checks import State
from tests.lib import remotes
from tests.lib import small_dvc as small
from tests.lib.remotes import each_kind as remote
from tests.lib.repository import git
from tests.lib.small_dvc import attempt, dvc, edit, is_up_to_date, run, save

__all__ = ["remote"]


def publish(place: Path) -> None:
    """What docs/sharing.md says to do after a run that has been committed."""
    dvc(place, "push", "--quiet", "--run-cache")
    git(place, "push", "--quiet", "origin", "HEAD:main")


def states(place: Path) -> dict[str, State]:
    return {check.name: check.state for check in checks.checks(place)}


def test_two_clones_give_and_take_and_merge_what_each_has_run(tmp_path, remote):
    one = small.lay(tmp_path / "one clone")
    remote.add(one)
    save(one, "remote")
    git(tmp_path, "clone", "--quiet", "--bare", str(one), "origin.git")
    git(one, "remote", "add", "origin", str(tmp_path / "origin.git"))

    # the first gives; an earlier value's results must be pushed while dvc.lock records them
    edit(one, first="0\n")
    assert run(one) == ["apart", "first", "second"]
    dvc(one, "push", "--quiet", "--run-cache")
    edit(one, first="1\n")
    assert run(one) == ["first", "second"]
    before = states(one)
    assert before["results"] == before["run-cache"] == State.WARNING
    save(one, "run")
    publish(one)
    assert set(states(one).values()) == {State.OK}

    # the second takes, and runs nothing: not the results in the lock, not those of the earlier value
    two = small.clone(tmp_path / "origin.git", tmp_path / "two")
    remote.know(two)
    dvc(two, "pull", "--quiet", "--run-cache")
    assert is_up_to_date(two) and run(two) == [] and (two / "second.out").read_text() == "1\n"
    shutil.rmtree(two / "first")
    edit(two, first="0\n")
    assert run(two, "--pull") == [] and (two / "second.out").read_text() == "0\n"
    git(two, "checkout", "--quiet", ".")
    assert run(two) == [] and set(states(two).values()) == {State.OK}

    # both run something else; the locks merge by themselves, and nobody runs anything again
    edit(one, first="2\n")
    assert run(one) == ["first", "second"]
    save(one, "first")
    publish(one)
    edit(two, apart="2\n")
    assert run(two) == ["apart"]
    save(two, "apart")
    merged = attempt(two, "git", "pull", "--quiet", "--no-rebase", "--no-edit", "origin", "main")
    assert merged.returncode == 0 and "run again" not in merged.stderr, merged.stdout + merged.stderr
    dvc(two, "pull", "--quiet", "--run-cache")
    assert run(two) == [] and is_up_to_date(two)
    publish(two)
    git(one, "pull", "--quiet", "--ff-only", "origin", "main")
    dvc(one, "pull", "--quiet", "--run-cache")
    for place in (one, two):
        assert run(place) == [] and is_up_to_date(place)
        assert (place / "second.out").read_text() == (place / "apart.out").read_text() == "2\n"


@pytest.mark.slow
def test_a_remote_that_can_only_be_read_is_a_warning(tmp_path):
    with remotes.ssh(tmp_path / "sshd", read_only=True) as remote:
        place = small.lay(tmp_path / "clone")
        remote.add(place)
        save(place, "remote")
        found = {check.name: check for check in checks.checks(place)}
        assert found["remote"].state is State.WARNING and "can be read, not written" in found["remote"].found
        assert found["results"].state is State.OK


def test_a_missing_sshd_is_a_failure_in_ci_and_a_skip_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(remotes.shutil, "which", lambda *_, **__: None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="openssh-server"), remotes.ssh(tmp_path / "a"):
        pass
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="openssh-server"), remotes.ssh(tmp_path / "b"):
        pass
