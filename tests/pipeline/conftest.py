"""What tests of the runner are given."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.lib.installed import installed as installed
from tests.lib.installed import wheel as wheel
from tests.lib.own_home import own_home as own_home
from tests.lib.repository import Write, lay_sound


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Lay a sound small repository, with the given files written over it, and return its root."""
    return partial(lay_sound, tmp_path)
