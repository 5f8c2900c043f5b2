"""A stage's process: output moved into place on success only, failures explained, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import stage_process
from pipeline.environments import Environment
from pipeline.errors import RecastError, StageFailed
from pipeline.plan import Plan, PlannedStage
from stages import registry
from stages.base import Params, Stage
from tests.pipeline.conftest import ROOT

STAGE = """\
import json, os, sys, time, traceback
from stages.base import Params, Stage, StageError, progress, record_timing

class MadeUp(Params):
    mode: str = "good"

def run(params, inputs, out):
    print("noise of a tool")
    sys.stderr.write("a warning\\n")
    progress("half way", 1, 2)
    record_timing("latency", 0.5)
    (out / "result.txt").write_text(f"{os.environ['OMP_NUM_THREADS']} {inputs.scratch.is_dir()}")
    if params.mode == "refuse":
        raise StageError("no samples", "give it some")
    if params.mode == "chatty":
        try:
            json.loads("{")
        except ValueError:
            traceback.print_exc()
        print("after it")
        raise StageError("a tool failed", "use another")
    if params.mode == "bug":
        raise ValueError("shapes differ")
    if params.mode == "crash":
        os.kill(os.getpid(), 11)
    if params.mode == "exit":
        os._exit(7)
    if params.mode == "nan":
        return {"accuracy": float("nan")}
    if params.mode == "leaves":
        import subprocess
        left = subprocess.Popen(["sleep", "600"], start_new_session=True)
        (out / "pid").write_text(str(left.pid))
    if params.mode == "hang":
        time.sleep(600)
    return {"accuracy": 0.5}

STAGE = Stage(params=MadeUp, run=run)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the made-up stage in the given mode, in a repository of its own."""
    (tmp_path / "params.yaml").write_text("data_root: downloads\n")
    (tmp_path / "made_up.py").write_text(STAGE)
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    monkeypatch.setitem(registry.REGISTRY, "made_up", registry.Entry("made_up", "none"))
    environment = _ThisPython("none", tmp_path, "3.11", "", tmp_path, None)

    def call(mode, live=lambda text, done, total: None, inputs=None, cpu=1):
        params = {"mode": mode, "resources": {"cpu": cpu}}
        stage = PlannedStage("r", None, "made", "made_up", params, inputs or {}, (), (), {}, _stage())
        plan = Plan({stage.id: stage}, {})
        return stage_process.run_stage(tmp_path, plan, stage, environment, live)

    return call


class _ThisPython(Environment):
    @property
    def python(self) -> Path:
        return Path(sys.executable)


def _stage() -> Stage[Params]:
    return Stage(params=Params, run=lambda params, inputs, out: {})


def nothing_is_left(root: Path) -> bool:
    return not list((root / ".recast/running").iterdir()) and not (root / "artifacts/r/made").exists()


def test_a_good_run_moves_its_output_into_place(run, tmp_path):
    live = []
    assert run("good", lambda *said: live.append(said), cpu=3) > 0
    assert (tmp_path / "artifacts/r/made/result.txt").read_text() == "3 True"
    assert json.loads((tmp_path / "artifacts/r/made/metrics.json").read_text()) == {"accuracy": 0.5}
    assert live == [("half way", 1, 2)]
    assert not list((tmp_path / ".recast/running").iterdir())


def test_what_a_stage_leaves_running_with_its_output_open_does_not_keep_it_from_ending(run, tmp_path):
    try:
        run("leaves")
        assert json.loads((tmp_path / "artifacts/r/made/metrics.json").read_text()) == {"accuracy": 0.5}
    finally:
        os.kill(int((tmp_path / "artifacts/r/made/pid").read_text()), signal.SIGKILL)


def test_times_stay_out_of_the_output(run, tmp_path):
    run("good")
    timings = json.loads((tmp_path / ".recast/timings/r-made.json").read_text())
    assert timings["latency"] == 0.5 and timings["seconds"] > 0
    assert sorted(path.name for path in (tmp_path / "artifacts/r/made").iterdir()) == ["metrics.json", "result.txt"]


def test_the_log_holds_the_tools_noise(run, tmp_path):
    run("good")
    (log,) = (tmp_path / ".recast/logs/r-made").glob("*.log")
    assert "noise of a tool" in log.read_text() and "a warning" in log.read_text()
    assert "\x1e" not in log.read_text()


def test_a_new_output_replaces_the_old_one(run, tmp_path):
    run("good")
    (tmp_path / "artifacts/r/made/stale.txt").touch()
    run("good")
    assert not (tmp_path / "artifacts/r/made/stale.txt").exists()


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("refuse", "stage 'r/made' failed: no samples; give it some"),
        ("bug", r"failed: ValueError: shapes differ \(made_up.py:23\)"),
        ("crash", "was killed by signal 11"),
        ("exit", "ended with exit code 7"),
        ("nan", "measured a NaN or an infinity: accuracy"),
    ],
)
def test_a_failure_says_why_and_leaves_nothing(run, tmp_path, mode, message):
    with pytest.raises(StageFailed, match=message) as failure:
        run(mode)
    assert "log: .recast/logs/r-made/" in str(failure.value)
    assert "noise of a tool" in str(failure.value)
    assert "Traceback" not in str(failure.value)
    assert nothing_is_left(tmp_path)


def test_what_a_failed_stage_had_written_is_kept_aside_until_it_runs_again(run, tmp_path):
    with pytest.raises(StageFailed):
        run("refuse")
    assert (tmp_path / ".recast/failed/r-made/result.txt").read_text() == "1 True"
    run("good")
    assert not (tmp_path / ".recast/failed/r-made").exists()


def test_the_traceback_of_an_unforeseen_error_is_in_the_log(run, tmp_path):
    with pytest.raises(StageFailed):
        run("bug")
    (log,) = (tmp_path / ".recast/logs/r-made").glob("*.log")
    assert "Traceback" in log.read_text() and "ValueError: shapes differ" in log.read_text()


def test_a_traceback_that_a_tool_prints_stays_in_the_log(run, tmp_path):
    with pytest.raises(StageFailed, match="a tool failed; use another") as failure:
        run("chatty")
    shown = str(failure.value)
    assert "Traceback" not in shown and "File " not in shown
    assert "| json.decoder.JSONDecodeError" in shown and "| after it" in shown
    (log,) = (tmp_path / ".recast/logs/r-made").glob("*.log")
    assert "Traceback" in log.read_text()


def test_a_missing_input_names_what_makes_it(run, tmp_path):
    with pytest.raises(RecastError, match=r"artifacts/r/made is not there; run './recast run r'"):
        run("good", inputs={"data": "r/made"})


def test_only_the_newest_logs_are_kept(run, tmp_path, monkeypatch):
    monkeypatch.setattr(stage_process, "LOGS_KEPT", 2)
    for _ in range(4):
        run("good")
    assert len(list((tmp_path / ".recast/logs/r-made").glob("*.log"))) == 2


def test_what_a_killed_run_left_is_swept_and_a_living_one_is_not(run, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, living = (tmp_path / ".recast/running" / f"r-x.{pid}" for pid in (dead.pid, os.getppid()))
    left.mkdir(parents=True)
    living.mkdir()
    run("good")
    assert not left.exists() and living.exists()


def test_the_process_ends_with_a_runner_that_was_killed(tmp_path):
    """kill -9 of the runner: its stage notices that standard input closed and goes too."""
    (tmp_path / "made_up.py").write_text(STAGE.replace('print("noise of a tool")', "print(os.getpid(), flush=True)"))
    job = {"root": str(tmp_path), "module": "made_up", "params": {"mode": "hang"}, "directories": {}, "files": {}}
    job |= {"data_roots": [], "scratch": str(tmp_path), "device": "cpu", "out": str(tmp_path)}
    script = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-m', 'pipeline.worker'], stdin=subprocess.PIPE, text=True)\n"
        f"p.stdin.write({json.dumps(job)!r} + '\\n'); p.stdin.flush(); time.sleep(600)\n"
    )
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "OMP_NUM_THREADS": "1"}
    runner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=variables)
    assert runner.stdout
    worker = int(runner.stdout.readline())
    os.kill(worker, 0)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    runner.stdout.close()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split(")")[1][:3]:
        assert time.monotonic() < deadline, "the worker outlived its runner"
        time.sleep(0.1)


def test_data_roots_come_from_params_or_the_environment(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("data_root: [one, ../two]\n")
    monkeypatch.delenv("RECAST_DATA_ROOT", raising=False)
    assert stage_process.data_roots(tmp_path) == (tmp_path / "one", tmp_path.parent / "two")
    monkeypatch.setenv("RECAST_DATA_ROOT", "/somewhere")
    assert stage_process.data_roots(tmp_path) == (Path("/somewhere"),)
