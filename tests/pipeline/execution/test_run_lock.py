"""One run at a time, whoever holds the lock."""

from __future__ import annotations

import subprocess
import sys

import pytest

from recast.pipeline.execution.run_lock import only_run
from tests.lib.repository import ROOT

HOLD = """\
import sys, time
from pathlib import Path
from recast.pipeline.execution.run_lock import only_run
sys.argv = ["recast", "run", "digits"]
with only_run(Path(sys.orig_argv[-1]), print, lambda: None):
    print("held", flush=True)
    time.sleep(600)
"""


class Enough(Exception):
    pass


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_says_once_for_whom_it_waits_and_can_give_up(tmp_path, holder):
    said, looked = [], []

    def waits():
        looked.append(1)
        if len(looked) == 4:
            raise Enough

    with pytest.raises(Enough), only_run(tmp_path, said.append, waits):
        raise AssertionError("two at once")
    (line,) = said
    assert line.startswith(f"waiting for 'recast run digits' (process {holder.pid}, since ")


def test_what_is_wrong_with_the_request_is_said_before_anybody_is_waited_for(tmp_path, holder):
    said = []

    def looks():
        raise Enough

    def waits():
        raise AssertionError("waited")

    with pytest.raises(Enough), only_run(tmp_path, said.append, waits, looks):
        raise AssertionError("two at once")
    assert not said


def test_a_killed_holder_holds_nothing(tmp_path, holder):
    holder.kill()
    holder.wait()
    said = []
    with only_run(tmp_path, said.append, lambda: None):
        assert (tmp_path / ".recast/run.json").exists()
    assert not said and not (tmp_path / ".recast/run.json").exists()
