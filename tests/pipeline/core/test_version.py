"""Which Recast it is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from recast.pipeline.cli.main import main
from recast.pipeline.core import version
from tests.lib.repository import ROOT, commit, git


def test_a_clone_says_its_version_and_commit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    said = capsys.readouterr().out
    assert left.value.code == 0
    assert re.fullmatch(r"recast \d+\.\d+\.\d+( \(commit [0-9a-f]{7,}(, with changes)?\))?\n", said)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if head.returncode == 0:
        assert f"(commit {head.stdout[:7]}" in said


def test_changes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "7.8.9"\n')
    commit(tmp_path, "first")
    monkeypatch.setattr(version, "PACKAGE", tmp_path)
    assert re.fullmatch(r"recast 7\.8\.9 \(commit [0-9a-f]{7,}\)", version.described())
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "8.0.0"\n')
    assert version.described().startswith("recast 8.0.0 (commit ") and "with changes" in version.described()


def test_installed_it_is_the_distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "PACKAGE", tmp_path)
    monkeypatch.setattr(version.metadata, "version", {"recast-ml": "4.5.6"}.__getitem__)
    # the user's own repository, in which it may lie, is not looked at
    assert version.described() == "recast 4.5.6"
