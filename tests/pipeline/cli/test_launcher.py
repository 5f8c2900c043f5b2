"""The launcher `recast`: which environment of Recast's it takes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lib.repository import ROOT


def clone(place: Path, *, pins: str = "dvc==1\n", venv: bool = True) -> Path:
    """What the launcher looks at of a clone; its Python says whose it is."""
    (place / "envs").mkdir(parents=True)
    (place / "envs/recast.txt").write_text(pins)
    shutil.copy(ROOT / "recast", place / "recast")
    if venv:
        python = place / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\necho \'{place.name}\' "$PYTHONPATH" "$@"\n')
        python.chmod(0o755)
    return place


def launched(place: Path, home: Path) -> str:
    # a PATH on which no Python has DVC
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    done = subprocess.run([place / "recast", "plan", "a b"], env=variables, capture_output=True, text=True)
    assert done.returncode in (0, 2)
    return done.stdout.strip() or done.stderr.strip()


def takes(place: Path, whose: str, home: Path) -> None:
    assert launched(place, home) == f"{whose} {place}/src -P -m recast plan a b"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "a home"


def test_its_own_comes_first(tmp_path, home):
    takes(clone(tmp_path / "a clone"), "a clone", home)


def test_an_experiments_copy_takes_its_clones(tmp_path, home):
    noted(clone(tmp_path / "another"), home)
    main = clone(tmp_path / "main")
    takes(clone(main / ".dvc/tmp/exps/standalone/tmpa", venv=False), "main", home)
    takes(clone(main / ".dvc/tmp/exps/tmpb", venv=False), "main", home)


def test_a_worktree_takes_its_clones_if_the_pins_are_the_same(tmp_path, home):
    noted(clone(tmp_path / "another", pins="dvc==2\n"), home)
    main = clone(tmp_path / "main")
    for name, pins, whose in (("same", "dvc==1\n", "main"), ("newer", "dvc==2\n", "another")):
        worktree = clone(tmp_path / name, pins=pins, venv=False)
        (worktree / ".git").write_text(f"gitdir: {main}/.git/worktrees/{name}\n")
        takes(worktree, whose, home)
        takes(clone(worktree / ".dvc/tmp/exps/standalone/tmpa", pins=pins, venv=False), whose, home)


def noted(place: Path, home: Path) -> None:
    note = (
        "import sys, pathlib; from recast.pipeline.processes.environments import note_clone;"
        "note_clone(pathlib.Path(sys.argv[1]))"
    )
    kept = {name: value for name, value in os.environ.items() if name not in ("RECAST_HOME", "XDG_CACHE_HOME")}
    variables = {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([ROOT / ".venv/bin/python", "-c", note, str(place)], env=variables, check=True)


def test_another_clone_of_the_same_pins_does_if_it_is_still_there(tmp_path, home):
    second = clone(tmp_path / "second", venv=False)
    assert "its environment is missing; run 'make setup'" in launched(second, home)
    gone, first = clone(tmp_path / "first of all"), clone(tmp_path / "first")
    noted(gone, home)
    noted(first, home)
    shutil.rmtree(gone)
    takes(second, "first", home)


def test_a_venv_that_is_a_link_is_not_set_up_anew(tmp_path):
    """`python -m venv --clear` would empty the folder that it leads to, which is another clone's."""
    other, place = clone(tmp_path / "other"), clone(tmp_path / "a clone", venv=False)
    shutil.copy(ROOT / "Makefile", place / "Makefile")
    (place / ".venv").symlink_to(other / ".venv")
    done = subprocess.run(["make", "setup"], cwd=place, capture_output=True, text=True)
    assert done.returncode == 2 and f"would replace what {other}/.venv holds" in done.stderr
    assert (other / ".venv/bin/python").is_file()
