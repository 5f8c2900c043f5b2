"""DVC opens S3 remotes by a class that gives up one that falls silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from recast.pipeline.dvc import s3_remote, session
from tests.lib import small_dvc as small


@pytest.mark.parametrize("own", [{}, {"read_timeout": "7", "connect_timeout": "3"}])
def test_a_remote_is_opened_so_that_silence_is_noticed(tmp_path: Path, own: dict[str, str]) -> None:
    place = small.lay(tmp_path / "clone")
    small.dvc(place, "remote", "add", "--default", "shared", "s3://bucket/remote")
    for option, value in {"region": "us-east-1", **own}.items():
        small.dvc(place, "remote", "modify", "shared", option, value)
    with session.opened(place) as repo:
        fs = repo.cloud.get_remote().fs
    assert isinstance(fs, s3_remote.S3FileSystem)
    given = fs.fs_args["config_kwargs"]
    waits = {name: given[name] for name in ("read_timeout", "connect_timeout")}
    assert waits == ({"read_timeout": 7, "connect_timeout": 3} if own else {"read_timeout": 20, "connect_timeout": 10})
    assert given["retries"] == {"max_attempts": 0}
    assert fs.fs.connect().meta.config.read_timeout == waits["read_timeout"]  # as botocore has it
