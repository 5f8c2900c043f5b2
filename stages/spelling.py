"""What a misspelt name was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A remedy: the nearest of the known names, if one is near, and all of them."""
    known = sorted(known)
    folded = {name.lower().replace("_", ""): name for name in known}
    near = difflib.get_close_matches(wrong.lower().replace("_", ""), folded, n=1)
    listed = f"supported: {', '.join(known)}" if known else "none is defined"
    return f"did you mean '{folded[near[0]]}'? {listed}" if near else listed
