"""A user's folder of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recast.pipeline.core.layout import USER_FOLDER
from recast.pipeline.processes import environment_use


@pytest.fixture
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for environments that holds none, and not that of the tests. Its path has a space."""
    place = tmp_path_factory.mktemp("a home")
    monkeypatch.setenv(USER_FOLDER, str(place))
    yield place
    environment_use.release_all()
