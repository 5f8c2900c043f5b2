"""A folder in memory: DVC waits for a disk at every turn, and a test of what it computes need not."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PLACE = Path("/dev/shm")
ENOUGH = 2 * 2**30
"""bytes that must be free there"""


def folder() -> Path:
    """A new one, for its maker to remove; on disk if this machine has no such place or little room in it."""
    usable = os.access(PLACE, os.W_OK) and shutil.disk_usage(PLACE).free > ENOUGH
    return Path(tempfile.mkdtemp(prefix="recast-", dir=PLACE if usable else None))


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """Where a small repository may be laid."""
    place = folder()
    yield place / "here"
    shutil.rmtree(place)
