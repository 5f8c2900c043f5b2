"""The files that pin packages: those of environments, and the locks of a project's own packages.

Imported before anything is installed but uv and filelock (`envs/install.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recast.pipeline.core.layout import PINS, RECIPES
from recast.stages.providers import providers

LOCKS = f"{RECIPES}/locks"
"""the folder of the locks of a project's own packages, as `ENVIRONMENT.txt` and `ENVIRONMENT.RECIPE.txt`"""

HASHES = "hashes"
"""the folder beside pin files that says of the pins of each, in a file of the same name, which files they may be"""

_OWN = "+own"


def with_own(environment: str, lock: str) -> str:
    """The name of the environment that holds, on top of one's packages, those of a lock: `torch+own.RECIPE`."""
    return f"{environment}{_OWN}{Path(lock).stem.removeprefix(environment)}"


def lock_of(name: str) -> tuple[str, str | None]:
    """The environment whose packages one of that name holds, and the lock of what it holds on top of them, if any."""
    environment, own, recipe = name.partition(_OWN)
    return environment, f"{LOCKS}/{environment}{recipe}.txt" if own else None


def pin_files(root: Path) -> dict[str, Path]:
    """environment -> its pin file: the repository's own, or else one of Recast or a plugin."""
    provided = {name: path for provider in providers() for name, path in provider.pins.items()}
    return {**provided, **{path.stem: path for path in (root / PINS).glob("*.txt")}}


def constraints(pins: Path) -> list[str]:
    """What uv is told, so that it takes no file of a pin but those that are known; nothing where none are listed."""
    listed = pins.parent / HASHES / pins.name
    return ["--constraints", str(listed)] if listed.is_file() else []


def pinned(text: str) -> Iterator[str]:
    """The pins of such a file, line by line, without comments."""
    return (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
