"""A copy of the project in which recipes are run with other values: DVC's cache is the project's own.

What a candidate makes is then in the run-cache under the very key that the recipe has once it says the same, so that
neither this project nor a teammate's computes it again. The copy lies where DVC has its experiments, and so finds what
belongs to the machine where those do (`recast.pipeline.core.main_checkout`).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recast.pipeline.core.git import git
from recast.pipeline.core.layout import DEVICE, RECIPES
from recast.pipeline.core.main_checkout import EXPERIMENTS
from recast.pipeline.dvc.session import opened
from recast.pipeline.planning.plan import Plan
from recast.pipeline.processes.stage_call import is_alive
from recast.pipeline.recipes.recipe import Recipes
from recast.pipeline.sharing.remote import settings

_NAME = re.compile(r"recast-repair-(\d+)")


@contextmanager
def copied(root: Path, plan: Plan) -> Iterator[Path]:
    """The copy of the project, of what git knows of it or would add, and of what the plan's stages read besides.

    Of the recipes it has those of the plan, and what they extend: the others would be planned for every candidate.

    It is removed at the end, and so is one that a killed process left. Raises RecastError outside of git.
    """
    place = root.joinpath(*EXPERIMENTS)
    _sweep(place)
    copy = place / f"recast-repair-{os.getpid()}"
    copy.mkdir(parents=True)
    try:
        _fill(root, copy, plan)
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _sweep(place: Path) -> None:
    for left in place.glob("recast-repair-*"):
        found = _NAME.fullmatch(left.name)
        if found and not is_alive(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)


def _fill(root: Path, copy: Path, plan: Plan) -> None:
    for name in (*_known_to_git(root), *([DEVICE] if (root / DEVICE).is_file() else ())):
        _copy(root / name, copy / name)
    for file in sorted({file for stage in plan.stages.values() for file in stage.files.values()}):
        # data that git ignores, since DVC brings it
        if (root / file).exists() and not (copy / file).exists():
            _copy(root / file, copy / file)
    recipes = [Recipes(root).require(name) for name in plan.recipes]
    needed = {one.name for recipe in recipes if recipe for one in recipe.chain}
    for other in (copy / RECIPES).glob("*.yaml"):
        if other.stem not in needed:
            other.unlink()
    git(copy, "init", "--quiet")
    local = root / ".dvc" / "config.local"
    if local.is_file():
        _copy(local, copy / ".dvc" / "config.local")
    cache = settings(root).cache
    with opened(copy) as repo, repo.config.edit("local") as config:
        config.setdefault("cache", {})["dir"] = str(_store(cache))


def _store(cache: Path) -> Path:
    """The folder that DVC's setting names, of the one in which objects lie: `files/md5` below it."""
    return cache.parents[1] if cache.parts[-2:] == ("files", "md5") else cache


def _known_to_git(root: Path) -> list[str]:
    wrong, remedy = "git cannot say which files the project has", "run 'git init' in the project"
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", wrong=wrong, remedy=remedy)
    return [name for name in listed.split("\0") if name]


def _copy(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        place.symlink_to(source.readlink())
    elif source.is_dir():
        shutil.copytree(source, place, symlinks=True)
    else:
        with suppress(FileNotFoundError):  # deleted, and git not told
            shutil.copy2(source, place)
