"""How much memory this machine has for a stage's tools."""

from __future__ import annotations

import os
from pathlib import Path

GIB = 2**30
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
SHARE_OF_MEMORY = 0.9
"""of the machine's memory that one tool may take"""


def machine_memory() -> int:
    """Bytes of memory this machine has, or this container may use."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(installed, int(CONTAINER_LIMIT.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # there is none, or it is "max"
        return installed
