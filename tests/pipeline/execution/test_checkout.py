"""What makes a checkout another one than the driver's: each is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.execution.checkout import describe, differs, refuse_dirty
from tests.lib.repository import commit, git


@pytest.fixture
def clones(write, tmp_path: Path) -> tuple[Path, Path]:
    one = write({"envs/torch.txt": "a==1\n", ".gitignore": "device.txt\n", "dvc.lock": "stages: {}\n"})
    git(one, "init", "--quiet")
    commit(one, "lay")
    two = tmp_path.parent / f"{tmp_path.name}-two"
    git(one, "clone", "--quiet", str(one), str(two))
    return one, two


def test_a_clone_is_the_same_whatever_the_run_has_written(clones):
    one, two = clones
    (two / "dvc.lock").write_text("stages: {other: {}}\n")
    ours, theirs = describe(one), describe(two)
    assert differs(ours, theirs) == ""
    refuse_dirty(theirs)


def test_commit_edits_pins_and_device_are_each_named(clones):
    one, two = clones
    ours = describe(one)
    (two / "params.yaml").write_text("stages: {}\n")
    (two / "new.py").write_text("")
    assert "edits that are not committed: params.yaml, new.py" in differs(ours, describe(two))
    with pytest.raises(RecastError, match=r"edits that are not: params.yaml, new.py.*commit them"):
        refuse_dirty(describe(two))
    commit(two, "edit")
    said = differs(ours, describe(two))
    assert said.startswith("it is at commit ") and ours["commit"][:10] in said
    assert "the pins of its environments differs" in differs(ours, {**ours, "pins": "others"})
    (two / "device.txt").write_text("cuda\n")
    assert "device.txt differs ('cuda', here 'cpu')" in differs(ours, describe(two))


def test_what_is_no_git_repository_is_refused(write):
    with pytest.raises(RecastError, match="git says nothing"):
        describe(write({}))
