"""The tests of a stage run in its environment; started in another, they say which command runs them there.

Tests use the environments that the user's repositories share, and build there what is missing. That repositories of
tests use them is recorded nowhere but in a folder of this session. So are DVC's databases of their files, in memory: to
disk they would be written at each of its calls.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest

from recast.pipeline.core.layout import USER_FOLDER, environments_folder
from tests.lib import in_memory
from tests.lib.tally import pytest_terminal_summary as pytest_terminal_summary
from tests.lib.tally import tally as tally
from tests.selection import ROOT, STAGES, environment_of

DATABASES = "DVC_SITE_CACHE_DIR"
ELSEWHERE = pytest.StashKey[list[Path]]()


class Elsewhere(pytest.Module):
    """A file that must not be imported here."""

    def collect(self) -> Iterable[pytest.Item]:
        self.config.stash[ELSEWHERE].append(self.path)
        return ()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ELSEWHERE] = []
    shared, before = environments_folder(), os.environ.get(USER_FOLDER, "")
    shared.mkdir(parents=True, exist_ok=True)
    home = tempfile.mkdtemp(prefix="recast-home-")
    Path(home, "envs").symlink_to(shared)
    os.environ[USER_FOLDER] = home
    databases, others = in_memory.folder(), os.environ.get(DATABASES, "")
    os.environ[DATABASES] = str(databases)

    def undo() -> None:
        shutil.rmtree(home)
        shutil.rmtree(databases, ignore_errors=True)  # a worker of a queue may still write there
        os.environ[USER_FOLDER] = before  # another session may follow in this process
        os.environ[DATABASES] = others

    config.add_cleanup(undo)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if not module_path.is_relative_to(STAGES):
        return None
    if Path(sys.prefix).name.startswith(f"{environment_of(module_path)}-"):
        return None
    return Elsewhere.from_parent(parent, path=module_path)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    try:
        done = yield
    except pytest.UsageError:
        # a test named in such a file is not found
        if not session.config.stash[ELSEWHERE]:
            raise
        done = None
    if elsewhere := session.config.stash[ELSEWHERE]:
        first = f"{elsewhere[0].relative_to(ROOT)} runs in the environment '{environment_of(elsewhere[0])}'"
        more = f", and {len(elsewhere) - 1} more in theirs" if len(elsewhere) > 1 else ""
        command = shlex.join([".venv/bin/python", "tests/run.py", *session.config.invocation_params.args])
        raise pytest.UsageError(f"{first}{more}; use: {command}")
    return done
