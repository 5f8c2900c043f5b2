"""What git says, and that its complaint is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.git import git, git_or_none
from tests.lib import repository


def test_it_says_what_git_says_of_that_folder(tmp_path: Path) -> None:
    repository.git(tmp_path, "init", "--quiet")
    (tmp_path / "a b").mkdir()
    assert git(tmp_path / "a b", "rev-parse", "--show-prefix") == "a b/\n"
    (tmp_path / "caf\udce9").touch()  # a name in Latin-1
    assert git(tmp_path, "ls-files", "-z", "--others") == "caf\udce9\0"


def test_a_complaint_is_told_with_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(RecastError, match=r"git rev-parse: not a git repository") as raised:
        git(tmp_path, "rev-parse", "HEAD")
    assert raised.value.remedy == "see what git says"
    with pytest.raises(RecastError, match="no commit here: not a git repository"):
        git(tmp_path, "rev-parse", "HEAD", wrong="no commit here", remedy="commit")
    assert git_or_none(tmp_path, "rev-parse", "HEAD") is None


def test_without_git_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecastError, match="git cannot be run"):
        git(tmp_path, "status")
    assert git_or_none(tmp_path, "status") is None
