"""Which project a checkout is a second one of: told from where it lies, and from what git writes into a worktree."""

from __future__ import annotations

from pathlib import Path

import pytest

from recast.pipeline.core.main_checkout import main_checkout
from tests.lib.repository import git


def project(place: Path) -> Path:
    (place / "recipes").mkdir(parents=True)
    (place / "params.yaml").touch()
    return place


@pytest.fixture
def clone(tmp_path) -> Path:
    """A git repository that holds a project at its top, and one in a folder."""
    place = project(tmp_path / "clone")
    project(place / "in/folder")
    git(place, "init", "--quiet")
    git(place, "config", "user.name", "t")
    git(place, "config", "user.email", "t@example.com")
    for folder in ("recipes", "in/folder/recipes"):
        (place / folder / "r.yaml").touch()
    git(place, "add", "-A")
    git(place, "commit", "--quiet", "-m", "one")
    return place


def copied_by_dvc(clone: Path, project: str, place: str = "standalone/tmp1") -> Path:
    """As `dvc exp run --temp` copies: all of the git repository, below the project's own `.dvc`."""
    copy = clone / project / ".dvc/tmp/exps" / place
    git(clone, "clone", "--quiet", ".", str(copy))
    return copy / project


@pytest.mark.parametrize("below", ["", "in/folder"])
def test_a_copy_of_dvcs_is_of_the_project_it_lies_in(clone, below):
    for place in ("standalone/tmp1", "tmp2"):
        assert main_checkout(copied_by_dvc(clone, below, place)) == clone / below


@pytest.mark.parametrize("below", ["", "in/folder"])
def test_a_worktree_is_of_the_clone_and_a_copy_in_it_too(clone, below):
    git(clone, "worktree", "add", "--quiet", "../tree", "-b", "tree")
    tree = clone.parent / "tree"
    assert main_checkout(tree / below) == clone / below
    assert main_checkout(copied_by_dvc(tree, below)) == clone / below


def test_what_is_no_second_checkout_is_of_itself(clone, tmp_path):
    assert main_checkout(clone) == clone and main_checkout(clone / "in/folder") == clone / "in/folder"
    alone = project(tmp_path / "no git")
    assert main_checkout(alone) == alone
    # another clone, made by hand where DVC makes its copies, of a folder that holds no project
    other = project(tmp_path / "empty/.dvc/tmp/exps/mine")
    git(other, "init", "--quiet")
    assert main_checkout(other) == other


def test_a_worktree_whose_clone_has_no_project_is_of_itself(clone, tmp_path):
    git(clone, "clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    git(tmp_path / "bare.git", "worktree", "add", "--quiet", str(tmp_path / "tree"))
    assert main_checkout(tmp_path / "tree") == tmp_path / "tree"
    # its repository has been moved
    (tmp_path / "bare.git").rename(tmp_path / "moved.git")
    assert main_checkout(tmp_path / "tree") == tmp_path / "tree"
