"""Where the project lies that a checkout is a second one of: a copy that DVC tries something in, or a git worktree.

What belongs to the machine and to no commit is looked for there: the device, downloaded data, Recast's own environment
(which the launcher of a clone finds by the same two rules).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recast.pipeline.core.layout import DEFAULTS, RECIPES

EXPERIMENTS = (".dvc", "tmp", "exps")
"""below a project: where `dvc exp run --temp` and `dvc queue start` make their copies"""


def main_checkout(root: Path) -> Path:
    """The project that `root` is another checkout of; `root` itself if it is the only one.

    A worktree may hold DVC's copies, and is one itself.
    """
    seen = root
    for found in (_outside_experiments, _outside_worktree):
        seen = found(seen)
    return seen


def _outside_experiments(root: Path) -> Path:
    parts = root.parts
    for start in range(len(parts) - len(EXPERIMENTS)):
        if parts[start : start + len(EXPERIMENTS)] == EXPERIMENTS:
            top = _git_top(root)
            # DVC copies the whole git repository, of which the project may be a folder
            if top is not None and len(top.parts) > start + len(EXPERIMENTS):
                return _with_project(_upward(Path(*parts[:start])), root.relative_to(top)) or root
    return root


def _outside_worktree(root: Path) -> Path:
    top = _git_top(root)
    if top is None or not (top / ".git").is_file():
        return root
    try:
        own = top / (top / ".git").read_text(encoding="utf-8").strip().removeprefix("gitdir: ")
        shared = (own / (own / "commondir").read_text(encoding="utf-8").strip()).resolve()
    except OSError:
        return root  # a submodule's, or one whose repository is gone
    return _with_project(iter((shared.parent,)), root.relative_to(top)) or root


def _git_top(root: Path) -> Path | None:
    return next((folder for folder in _upward(root) if (folder / ".git").exists()), None)


def _upward(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.parents


def _with_project(tops: Iterator[Path], below: Path) -> Path | None:
    """The project at this place below one of the folders; None if there is none, as in a bare repository."""
    return next((top / below for top in tops if _is_project(top / below)), None)


def _is_project(folder: Path) -> bool:
    return (folder / RECIPES).is_dir() and (folder / DEFAULTS).is_file()
