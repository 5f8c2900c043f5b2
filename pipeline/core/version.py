"""Which Recast this is: its version, and in a clone the commit."""

from __future__ import annotations

import subprocess
import tomllib
from importlib import metadata

from recast.pipeline.core.layout import PACKAGE
from recast.stages.providers import DISTRIBUTION


def version() -> str:
    """The version of what runs: that of the clone, or of the installed distribution."""
    project = PACKAGE / "pyproject.toml"
    if project.is_file():
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
    return metadata.version(DISTRIBUTION)


def described() -> str:
    """A line for people and reports of bugs: `recast 0.1.0 (commit 7d243e4, with changes)`."""
    commit = _commit()
    return f"recast {version()}" + (f" ({commit})" if commit else "")


def _commit() -> str:
    # installed, it may lie in a repository of the user's, whose commit says nothing of ours
    if not (PACKAGE / ".git").exists():
        return ""
    asked = ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError:
        return ""  # without git it is still that version
    commit, dash, _ = done.stdout.strip().partition("-")
    return f"commit {commit}{', with changes' if dash else ''}" if done.returncode == 0 else ""
