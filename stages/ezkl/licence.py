"""EZKL's current versions state no licence: whoever uses this target is told so once on each machine."""

from __future__ import annotations

from pathlib import Path

from stages.base import progress
from stages.ezkl.local_store import local_store

NOTICE = (
    "EZKL 23.0.5 states no licence (its repository's was removed in 2024); Recast contains none of it, and this target "
    "has installed it for you from the package index: check that you may use it"
)


def show_once(out: Path) -> None:
    """Say it, and remember in the local store that it was said."""
    said = local_store(out) / "ezkl" / "licence-notice"
    if not said.exists():
        progress(NOTICE)
        said.parent.mkdir(parents=True, exist_ok=True)
        said.write_text(NOTICE + "\n", encoding="utf-8")
