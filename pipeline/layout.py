"""Where things lie in a repository of recipes: names only, so that importing them costs nothing."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import RecastError

RECIPES = "recipes"
TARGETS = f"{RECIPES}/targets"
DEFAULTS = "params.yaml"
ARTIFACTS = "artifacts"
GUARD = "guard"
"""the stage that stops DVC when dvc.yaml is out of date; no recipe may bear its name"""


def find_root() -> Path:
    """The repository the current directory lies in: the nearest folder with recipes/ and params.yaml."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / RECIPES).is_dir() and (folder / DEFAULTS).is_file():
            return folder
    raise RecastError(
        f"no {RECIPES}/ with {DEFAULTS} beside it here or above", "change to a clone of your Recast repository"
    )
