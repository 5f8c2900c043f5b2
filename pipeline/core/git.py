"""What git says, and its complaint where it says nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

from recast.pipeline.core.errors import RecastError


def git(root: Path, *arguments: str, wrong: str = "", remedy: str = "see what git says") -> str:
    """What git prints in that folder, whatever bytes file names are of.

    Raises RecastError if there is no git, or it fails: `wrong`, else the name of its command, and what it complains of.
    """
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    except OSError as error:
        raise RecastError(f"git cannot be run: {error.strerror}", "install git") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ") or f"exit code {done.returncode}"
        raise RecastError(f"{wrong or f'git {arguments[0]}'}: {said}", remedy)
    return done.stdout.decode(errors="surrogateescape")


def git_or_none(root: Path, *arguments: str) -> str | None:
    """The same; None where it refuses, or is not there."""
    try:
        return git(root, *arguments)
    except RecastError:
        return None
