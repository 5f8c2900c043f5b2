"""Commands of a plain DVC repository, each in a process group of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import chdir, closing
from pathlib import Path

import pytest

from pipeline.dvc_repository import Repository, Step
from pipeline.errors import Interrupted, StageFailed
from pipeline.events import Changed, Event, State
from pipeline.shell import ShellRunner
from tests.pipeline.drive import lay, wait_until

STAGES = {
    "says": {"cmd": "echo out; echo err >&2; echo $CUDA_VISIBLE_DEVICES; cat", "outs": ["never"]},
    "fails": {"cmd": ["echo first", "for i in $(seq 20); do echo line $i; done; exit 7", "echo third"], "outs": ["a"]},
    "dies": {"cmd": "kill -9 $$", "outs": ["b"]},
    "waits": {"cmd": "trap '' TERM; touch began; sleep 600 & wait; sleep 600", "outs": ["c"]},
}


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[ShellRunner]:
    lay(tmp_path, {}, STAGES)
    with closing(ShellRunner(tmp_path)) as runner, chdir(tmp_path):
        yield runner


def step(root: Path, name: str) -> Step:
    with closing(Repository(root, print)) as repository, repository.locked():
        return repository.steps([name])[0]


def test_what_a_command_says_is_in_its_log_and_it_reads_nothing(runner):
    events: list[Event] = []
    runner.run(step(runner.root, "says"), ["3", "5"], events.append)
    (event,) = events
    assert isinstance(event, Changed) and event.state is State.RUNNING
    lines = (runner.root / event.log).read_text().splitlines()
    assert lines[0].startswith("> echo out") and lines[1:] == ["out", "err", "3,5"]


def test_the_first_command_that_fails_is_named_with_what_it_said_last(runner):
    with pytest.raises(StageFailed, match=r"stage 'fails' failed: 'for .*' ended with exit code 7") as failure:
        runner.run(step(runner.root, "fails"), [], lambda event: None)
    assert failure.value.tail[-1] == "line 20"
    log = (runner.root / failure.value.log).read_text()
    assert "first" in log and "third" not in log


def test_a_signal_is_named(runner):
    with pytest.raises(StageFailed, match="was killed by signal 9"):
        runner.run(step(runner.root, "dies"), [], lambda event: None)


def test_a_command_that_does_not_stop_is_killed_and_nothing_starts_after_a_stop(runner):
    slow = step(runner.root, "waits")
    raised: list[BaseException] = []

    def go() -> None:
        try:
            runner.run(slow, [], lambda event: None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    # the command may say that it began before the runner has noted that it runs
    wait_until(lambda: (runner.root / "began").exists() and bool(runner._running), "the command began")
    (group,) = (process.pid for process in runner._running)
    runner.stop()
    thread.join(60)
    assert isinstance(raised[0], Interrupted)
    # init may need a moment to take note of the end of what the shell had started
    wait_until(lambda: not exists(group), "no process of the group is left")
    with pytest.raises(Interrupted):
        runner.run(slow, [], lambda event: None)


def exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_is_no_stage_is_run_too(runner, tmp_path):
    log = tmp_path / "logs/one.log"
    code = runner.call(["sh", "-c", "echo $WORD; pwd; exit 5"], {**os.environ, "WORD": "hello"}, log)
    assert code == 5 and log.read_text().split() == ["hello", str(tmp_path)]
