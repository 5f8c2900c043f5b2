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
        return meant(near)
    return f"known: {', '.join(names)}" if names else "none is known"


def meant(name: str) -> str:
    """A remedy that proposes the name."""
    return f"did you mean '{name}'?"


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a wrong one; None if none is near."""
    folded: dict[str, str] = {}
    for name in sorted(known):
        if name != wrong:
            folded.setdefault(_fold(name), name)
    given = _fold(wrong[: _LONGEST + 1])
    if not given or len(given) > _LONGEST:
        return None
    if given in folded:
        return folded[given]
    # what was cut short: `min_acc` is nearer to `min_auc` by its letters, and meant for `min_accuracy`
    begun = sorted((name for name in folded if len(given) > _LEAST_PART and name.startswith(given)), key=len)
    near = begun or difflib.get_close_matches(given, folded, n=1, cutoff=_NEAR)
    if len(given) >= _LEAST_PART and not near:
        near = sorted((name for name in folded if name.startswith(given)), key=len)
        near = near or [name for name in folded if len(name) > _LEAST_PART and given.startswith(name)]
    return folded[near[0]] if near else None


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.casefold())
