"""A file is replaced whole, or stays as it was with nothing beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from recast.pipeline.core.whole_file import replaced


def test_the_new_one_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for text in ("one", "two"):
        with replaced(path) as fresh:
            fresh.write_text(text)
        assert path.read_text() == text and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_one_that_is_not_written_to_its_end_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("one")
    with pytest.raises(type(error)), replaced(path) as fresh:
        fresh.write_text("tw")
        raise error
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]
