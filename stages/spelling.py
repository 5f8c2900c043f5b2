"""What a misspelt name was meant to be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_LONGEST = 100
"""characters of a name that is worth comparing"""
_LEAST_PART = 3
"""characters with which a known name that is meant may begin"""
_NEAR = 0.7
"""difflib's ratio, above which names are near: `gpu` is not meant for `cpu`"""


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A remedy for a name that is not known: the nearest known one, or all of them if none is near.

    Case, `_`, `-` and blanks count for nothing. The refused name itself is never proposed.
    """
    names = sorted({name for name in known if name != wrong})
    if near := nearest(wrong, names):
        return f"did you mean '{near}'?"
    return f"known: {', '.join(names)}" if names else "none is known"


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a wrong one; None if none is near."""
    folded: dict[str, str] = {}
    for name in sorted(known):
        if name != wrong:
            folded.setdefault(_fold(name), name)
    meant = _fold(wrong[: _LONGEST + 1])
    if not meant or len(meant) > _LONGEST:
        return None
    if meant in folded:
        return folded[meant]
    near = difflib.get_close_matches(meant, folded, n=1, cutoff=_NEAR)
    if len(meant) >= _LEAST_PART and not near:
        near = sorted((name for name in folded if name.startswith(meant)), key=len)
        near = near or [name for name in folded if len(name) > _LEAST_PART and meant.startswith(name)]
    return folded[near[0]] if near else None


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.casefold())
