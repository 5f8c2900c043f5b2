"""Commands of a plain DVC repository, each in a process group of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import chdir, closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from dvc.stage.run import _make_cmd as dvc_shell_call
from dvc.stage.run import get_executable, prepare_kwargs

from recast.pipeline.core.errors import Interrupted, StageFailed
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Changed, Event, State
from recast.pipeline.execution.shell_runner import ShellRunner, shell_call, stage_variables
from tests.lib.drive import lay, wait_until

STAGES = {
    "says": {"cmd": "echo out; echo err >&2; echo $CUDA_VISIBLE_DEVICES; cat", "outs": ["never"]},
    "fails": {"cmd": ["echo first", "for i in $(seq 20); do echo line $i; done; exit 7", "echo third"], "outs": ["a"]},
    "dies": {"cmd": "kill -9 $$", "outs": ["b"]},
    "waits": {"cmd": "trap '' TERM; echo $$ > pid; mv pid began; sleep 600 & wait; sleep 600", "outs": ["c"]},
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
    wait_until((runner.root / "began").exists, "the command began")
    group = int((runner.root / "began").read_text())
    assert exists(group)
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


@pytest.mark.parametrize("shell", [None, "", "/bin/sh", "/bin/bash", "/usr/bin/zsh", "/bin/dash", "/nowhere/Bash"])
@pytest.mark.parametrize("root_said", [None, "/elsewhere"])
def test_a_command_is_run_as_dvc_runs_it(shell, root_said, tmp_path, monkeypatch):
    for name, value in {
        "SHELL": shell,
        "DVC_ROOT": root_said,
        "PYENV_DIR": "/d",
        "PYENV_HOOK_PATH": "/h",
        "PYENV_VERSION": "3",
        "PYENV_ROOT": "/p",
        "PATH": "/p/versions/3/bin:/p/libexec:/p/plugins/x/bin:/usr/bin",
    }.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    stage = SimpleNamespace(wdir=str(tmp_path), repo=SimpleNamespace(root_dir=str(tmp_path)), addressing="a/dvc.yaml:b")
    assert shell_call("echo x") == dvc_shell_call(get_executable(), "echo x")
    assert stage_variables(tmp_path, "a/dvc.yaml:b") == prepare_kwargs(stage)["env"]
