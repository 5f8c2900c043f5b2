"""Versions are git tags as gto and DVC have them, and nothing else keeps them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import RecastError
from recast.pipeline.release import versions
from tests.lib.repository import commit, git, tag


@pytest.fixture
def root(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "t")
    git(tmp_path, "config", "user.email", "t@example.org")
    commit(tmp_path, "one")
    return tmp_path


def test_what_is_registered_is_an_annotated_tag_and_is_listed_the_latest_first(root):
    assert versions.versions(root) == []
    assert versions.register(root, Address("a", "b"), "v1.9.0") == "a-b@v1.9.0"
    commit(root, "two")
    versions.register(root, Address("a", "b"), "v1.10.0")
    versions.register(root, Address("a", "c"), "v0.1.0")
    kind = subprocess.run(["git", "cat-file", "-t", "a-b@v1.10.0"], cwd=root, capture_output=True, text=True)
    assert kind.stdout.strip() == "tag"
    found = versions.versions(root)
    said = [(one.name, one.version, one.is_latest) for one in found]
    assert said == [("a-b", "v1.10.0", True), ("a-b", "v1.9.0", False), ("a-c", "v0.1.0", True)]
    assert found[0].tag == "a-b@v1.10.0" and len(found[0].commit) == 40 and found[0].as_json()["created"]
    assert [one.version for one in versions.versions(root, "a/c")] == ["v0.1.0"]
    assert versions.versions(root, "a/d") == []


def test_tags_of_others_are_read_and_what_is_no_version_is_passed_over(root, monkeypatch):
    for name in ("a-b@v2.0.0", "v1", "a-b#prod#1"):
        tag(root, name)
    assert [one.tag for one in versions.versions(root)] == ["a-b@v2.0.0"]
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2099-01-01T00:00:00Z")
    tag(root, "a-b@v2.0.0!")  # as gto takes a version back
    assert versions.versions(root) == []


def test_a_version_and_a_commit_are_taken_once(root):
    versions.register(root, Address("a", "b"), "v1.0.0")
    with pytest.raises(RecastError, match=r"this commit is a-b@v1\.0\.0 already"):
        versions.refuse_taken(root, "a/b", "v1.0.1")
    commit(root, "two")
    with pytest.raises(RecastError, match="is there already"):
        versions.refuse_taken(root, "a/b", "v1.0.0")
    versions.refuse_taken(root, "a/b", "v1.0.1")


def test_a_project_below_the_top_of_git_has_its_folder_in_the_name(root):
    (root / "deep").mkdir()
    versions.register(root / "deep", Address("a", "b"), "v1.0.0")
    assert [one.name for one in versions.versions(root / "deep", "a/b")] == ["deep:a-b"]
    assert git_tags(root) == ["deep=a-b@v1.0.0"]


def git_tags(root: Path) -> list[str]:
    return subprocess.run(["git", "tag"], cwd=root, capture_output=True, text=True).stdout.split()


def test_an_address_without_a_target_is_refused(root):
    with pytest.raises(RecastError, match="names no target"):
        versions.versions(root, "a")
