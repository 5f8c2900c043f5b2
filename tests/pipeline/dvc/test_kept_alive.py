"""DVC opens SSH remotes by a class that has asyncssh look whether the other side is there."""

from __future__ import annotations

import inspect
from pathlib import Path

import asyncssh

from recast.pipeline.dvc import kept_alive, session
from tests.lib import small_dvc as small


def test_a_remote_is_opened_so_that_a_lost_connection_is_noticed(tmp_path: Path) -> None:
    place = small.lay(tmp_path / "clone")
    small.dvc(place, "remote", "add", "--default", "shared", "ssh://somebody@example.org/remote")
    with session.opened(place) as repo:
        fs = repo.cloud.get_remote().fs
    assert isinstance(fs, kept_alive.SSHFileSystem)
    given = fs.fs_args
    assert given["host"] == "example.org" and given["username"] == "somebody"
    assert given["keepalive_interval"] * given["keepalive_count_max"] == 30 and given["connect_timeout"] == 30
    known = inspect.signature(asyncssh.SSHClientConnectionOptions.prepare).parameters
    assert {"keepalive_interval", "keepalive_count_max", "connect_timeout"} <= known.keys()
