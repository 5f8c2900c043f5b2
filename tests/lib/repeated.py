"""How often tests do what they draw at random."""

from __future__ import annotations

import os

TIMES = "RECAST_FAULT_TIMES"
"""set it, and what is done at random is done so many times, instead of as many as CI has time for"""


def times(usually: int) -> int:
    """How often: so many times, unless it is set."""
    return int(os.environ.get(TIMES, usually))
