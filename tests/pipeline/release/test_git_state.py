"""What differs from the commit: what git has, and what a stage reads though git has it not."""

from __future__ import annotations

from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.release.git_state import git_state
from tests.lib.repository import commit, git


@pytest.fixture
def root(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    with pytest.raises(RecastError, match="commit the recipe first"):
        git_state(tmp_path, [])
    for name in ("kept.txt", "dvc.lock", "sub/project.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    (tmp_path / ".gitignore").write_text("ignored/\n")
    commit(tmp_path, "one")
    return tmp_path


def test_a_clean_repository_is_clean_whatever_lies_about_that_nothing_reads(root):
    (root / "stray.tar").write_text("")
    (root / "dvc.lock").write_text("2")
    state = git_state(root, ["kept.txt"])
    assert not state.is_dirty and len(state.commit) == 40


def test_a_changed_file_counts_and_a_new_or_an_ignored_one_where_a_stage_reads_it(root):
    (root / "kept.txt").write_text("2")
    (root / "models").mkdir()
    (root / "models/new.py").write_text("")
    (root / "ignored").mkdir()
    (root / "ignored/data.npz").write_text("")
    assert git_state(root, []).changes == ("kept.txt",)
    assert git_state(root, ["models", "ignored/data.npz"]).changes == ("ignored", "kept.txt", "models/new.py")


def test_a_project_below_the_top_reads_by_its_own_names(root):
    (root / "sub/data.npz").write_text("")
    (root / "data.npz").write_text("")
    assert git_state(root / "sub", ["data.npz"]).changes == ("sub/data.npz",)
