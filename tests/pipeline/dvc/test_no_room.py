"""A full disk is called one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.exceptions import CacheLinkError, CheckoutError

from recast.pipeline.core.errors import RecastError
from recast.pipeline.dvc import no_room
from recast.pipeline.dvc.session import readable_errors

# in a mount of its own, which ends with the process
FULL = """
import os, subprocess, sys
from pathlib import Path
from recast.pipeline.dvc.no_room import hindrance
place = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", place], check=True)
print(hindrance([place / "deep/er/a.txt"]))
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True
    )
    if "unshare failed" in done.stderr:
        pytest.skip("this system lets nobody mount")
    assert "No space left on device" in done.stdout and "dvc gc" in done.stdout, done.stderr


@pytest.mark.parametrize("refused", [CacheLinkError, lambda paths: CheckoutError(paths, {})])
def test_what_dvc_could_not_make_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused) -> None:
    with pytest.raises(RecastError, match="dvc: "), readable_errors():
        raise refused([str(tmp_path / "a.txt")])

    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(no_room.tempfile, "TemporaryFile", full)
    with (
        pytest.raises(RecastError, match=f"nothing can be written to {tmp_path}: No space left") as caught,
        readable_errors(),
    ):
        raise refused([str(tmp_path / "a.txt")])
    assert "free space" in caught.value.remedy
    with pytest.raises(RecastError, match=r"dvc: .*No space left") as caught, readable_errors():
        full()
    assert "free space" in caught.value.remedy
