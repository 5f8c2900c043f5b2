"""Which commit the repository stands at, and what differs from it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recast.pipeline.core.git import git
from recast.pipeline.dvc.lockfile import LOCK


@dataclass(frozen=True)
class GitState:
    """A commit, and what is not as it says."""

    commit: str
    """hexadecimal digits"""
    changes: tuple[str, ...]
    """files of git's that differ from the commit, and such that git does not have, though a stage reads them; relative
    to git's top folder. `dvc.lock` is none of them: it holds what a run has made."""

    @property
    def is_dirty(self) -> bool:
        """Whether anything differs."""
        return bool(self.changes)


def git_state(root: Path, reads: Collection[str]) -> GitState:
    """That of the repository. `reads`: files and folders that stages read, relative to it.

    Raises RecastError if it has no commit.
    """
    commit = git(root, "rev-parse", "--verify", "HEAD^{commit}", remedy="commit the recipe first").strip()
    prefix = git(root, "rev-parse", "--show-prefix").rstrip("\n")
    read = {PurePosixPath(f"{prefix}{path}") for path in reads}
    listed = git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignored=matching")
    changed = []
    for entry in filter(None, listed.split("\0")):
        name = PurePosixPath(entry[3:])
        # a file that git does not have is a change only where something depends on it; an ignored folder is one entry
        is_read = read & {name, *name.parents} or any(path.is_relative_to(name) for path in read)
        counts = is_read if entry[:2] in ("??", "!!") else True
        if counts and name.name not in (LOCK, "__pycache__"):
            changed.append(str(name))
    return GitState(commit, tuple(sorted(changed)))
