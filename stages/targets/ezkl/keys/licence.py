"""EZKL's current versions state no licence: whoever uses this target is told so once on each machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

NOTICE = (
    "EZKL 23.0.5 states no licence (its repository's was removed in 2024); Recast contains none of it, and this target "
    "has installed it for you from the package index: check that you may use it"
)


def show_once(store: Path, say: Callable[[str], None]) -> None:
    """Say it, and remember in the local store that it was said."""
    said = store / "ezkl" / "licence-notice"
    if not said.exists():
        say(NOTICE)
        said.parent.mkdir(parents=True, exist_ok=True)
        said.write_text(NOTICE + "\n", encoding="utf-8")
