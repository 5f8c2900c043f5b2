"""What DVC says while a run goes on is passed on, but for what says nothing to anybody."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from dvc.fs import LocalFileSystem

from recast.pipeline.core.errors import RecastError
from recast.pipeline.dvc import session


def test_an_empty_file_is_told_of_unless_it_only_makes_a_package() -> None:
    said: list[str] = []
    session.quieten(said.append)
    for path in ("src/mypkg/__init__.py", "data/points.npz"):
        logging.getLogger("dvc.output").warning("'%s' is empty.", path)
    assert said == ["dvc: 'data/points.npz' is empty."]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: socket.socket(socket.AF_UNIX).bind(str(path))])
def test_what_would_be_waited_for_in_a_folder_is_refused(tmp_path: Path, make: Any) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").touch()
    walk = session.PlainFiles(LocalFileSystem(), str(tmp_path)).walk
    assert [files for _, _, files in walk(LocalFileSystem(), str(tmp_path / "data"))] == [["a.txt"]]
    make(tmp_path / "data/b.png")
    with pytest.raises(RecastError, match=r"'data/b.png' is a (FIFO|socket), not a file or folder") as caught:
        list(walk(LocalFileSystem(), str(tmp_path / "data")))
    assert caught.value.remedy
    # nothing of the repository as such is read
    assert list(walk(LocalFileSystem(), str(tmp_path)))


@pytest.mark.parametrize("lost", [TimeoutError(), ConnectionResetError(), ConnectionResetError("reset by peer")])
def test_a_connection_that_broke_is_said_so_even_by_an_error_without_words(lost: OSError) -> None:
    with pytest.raises(RecastError) as caught, session.readable_errors():
        raise lost
    assert str(lost) in caught.value.message and type(lost).__name__ in (
        caught.value.message if not str(lost) else type(lost).__name__
    )
    assert "can be reached" in caught.value.remedy
