"""A DVC repository of trivial shell commands, and clones of it: what sharing does not need a model for."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from recast.pipeline.sharing import checks
from tests.lib.repository import ROOT, git

# one reads another's output; each says so in a file outside every output when it runs
DVCFILE = """\
stages:
  first:
    cmd: echo first >> ran.txt && mkdir -p first && cp first.txt first/copy && echo x > first/other
    deps: [first.txt]
    outs: [first]
  second:
    cmd: echo second >> ran.txt && cat first/copy > second.out
    deps: [first]
    params: [second]
    outs: [second.out]
  apart:
    cmd: echo apart >> ran.txt && cp apart.txt apart.out
    deps: [apart.txt]
    outs: [apart.out]
"""
# the launcher of this repository, run where the package is: the small one has no copy of it
LAUNCHER = f'#!/bin/sh\nPYTHONPATH="{ROOT}/src" exec "{sys.executable}" -P -m recast "$@"\n'


def lay(place: Path) -> Path:
    """A committed repository, nothing run yet."""
    shutil.copytree(_laid(), place, symlinks=True)
    return place


@cache
def _laid() -> Path:
    """The repository every other is a copy of: making one takes a second."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    place = folder / "laid"
    place.mkdir()
    git(place, "init", "--quiet", "--initial-branch", "main")
    identify(place)
    dvc(place, "init", "--quiet")
    dvc(place, "config", "core.analytics", "false")
    (place / "dvc.yaml").write_text(DVCFILE)
    (place / "params.yaml").write_text("second: 1\n")
    (place / "first.txt").write_text("1\n")
    (place / "apart.txt").write_text("1\n")
    (place / ".gitignore").write_text("/ran.txt\n/first\n/second.out\n/apart.out\n/recast\n")
    (place / ".gitattributes").write_text(f"{checks.ATTRIBUTE_LINE}\n")
    save(place, "lay")
    return place


def identify(place: Path) -> None:
    """What a merge commit needs, the launcher, and the merge driver."""
    git(place, "config", "user.name", "t")
    git(place, "config", "user.email", "t@example.org")
    (place / "recast").write_text(LAUNCHER)
    (place / "recast").chmod(0o755)
    checks.install_merge_driver(place)


def clone(source: Path, place: Path) -> Path:
    git(source.parent, "clone", "--quiet", str(source), str(place))
    identify(place)
    return place


def save(place: Path, message: str) -> None:
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message", message)


def edit(place: Path, **contents: str) -> None:
    """Write `name.txt` for each name."""
    for name, text in contents.items():
        (place / f"{name}.txt").write_text(text)


def run(place: Path, *arguments: str) -> list[str]:
    """`dvc repro`; the stages whose commands ran, sorted."""
    (place / "ran.txt").unlink(missing_ok=True)
    dvc(place, "repro", "--quiet", *arguments)
    ran = place / "ran.txt"
    return sorted(ran.read_text().split()) if ran.exists() else []


def dvc(place: Path, *arguments: str) -> str:
    done = attempt(place, sys.executable, "-m", "dvc", *arguments)
    assert done.returncode == 0, f"dvc {arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def attempt(place: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "GIT_EDITOR": "true"}
    return subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300
    )


def is_up_to_date(place: Path) -> bool:
    return "up to date" in dvc(place, "status")
