"""A stage's process: output moved into place on success only, failures explained, nothing left behind."""

from __future__ import annotations

import compileall
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecastError, StageFailed
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.processes import stage_call, stage_logs
from recast.pipeline.processes.environments import Environment
from recast.pipeline.processes.worker_pool import Workers
from recast.stages import registry
from recast.stages.base import Params, ProjectCode, Stage
from tests.lib.repository import ROOT

STAGE = """\
import json, os, signal, sys, time, traceback
from recast.stages.base import Params, Source, Stage, StageError, emit_event, progress, record_timing

class MadeUp(Params):
    mode: str = "good"

def run(params, inputs, out):
    print("noise of a tool")
    sys.stderr.write("a warning\\n")
    progress("half way", 1, 2)
    record_timing("latency", 0.5); emit_event({"measured": "speed", "value": {"median": 0.25, "cpu": "one"}})
    found = inputs.scratch.is_dir(), inputs.sources["vm"].is_dir()
    (out / "result.txt").write_text(f"{os.environ['OMP_NUM_THREADS']} {found}")
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
    if params.mode == "imports":
        import subprocess
        import pipeline.net
        import recast.stages
        code = "import pipeline.net as n, recast.stages as s; print(n.__file__, s.__file__, sep=chr(10))"
        asked = [sys.executable, "-P", "-c", code]
        child = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
        project = [str(inputs.project.root), *inputs.project.import_roots]
        (out / "found.json").write_text(
            json.dumps([project, [pipeline.net.__file__, recast.stages.__file__], child])
        )
    if params.mode == "edits":
        code = inputs.project.root / "own"
        import own.early
        for name in ("early", "late"):
            (code / f"{name}.py").write_text("EDITED = True  # and longer\\n")
        import own.late
        return {"early": own.early.EDITED, "late": own.late.EDITED}
    if params.mode == "limit":
        from recast.stages.common.untrusted import time_limit
        with time_limit(60, "the first", ""):
            pass
        with time_limit(0.2, "reading it", "give it less"):
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGINT])
            time.sleep(600)
    if params.mode == "hang":
        time.sleep(600)
    return {"accuracy": 0.5}

STAGE = Stage(params=MadeUp, run=run, sources=(Source("vm", "recast.stages.targets.cairo.run", "csrc"),))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the made-up stage in the given mode, in a repository of its own."""
    (tmp_path / "params.yaml").write_text("data_root: downloads\n")
    (tmp_path / "made_up.py").write_text(STAGE)
    monkeypatch.setitem(registry.REGISTRY, "made_up", registry.Entry("made_up", "none"))
    environment = _ThisPython("none", tmp_path, "3.11", "", tmp_path, None)

    def call(mode, live=lambda text, done, total: None, inputs=None, cpu=1, import_roots=(".",)):
        params = {"mode": mode, "resources": {"cpu": cpu}}
        project = ProjectCode(tmp_path, import_roots)
        stage = PlannedStage("r", None, "made", "made_up", params, inputs or {}, (), (), {}, _stage(), project=project)
        plan = Plan({stage.id: stage}, {})
        with Workers(tmp_path, warm=False) as workers:
            return stage_call.StageProcess(tmp_path, plan, stage, environment, live).run(workers)

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
    assert run("good", lambda *said: live.append(said), cpu=3).seconds > 0
    assert (tmp_path / "artifacts/r/made/result.txt").read_text() == "3 (True, True)"
    assert json.loads((tmp_path / "artifacts/r/made/metrics.json").read_text()) == {"accuracy": 0.5}
    assert live == [("half way", 1, 2)]
    assert not list((tmp_path / ".recast/running").iterdir())


def test_what_a_stage_leaves_running_with_its_output_open_does_not_keep_it_from_ending(run, tmp_path):
    try:
        run("leaves")
        assert json.loads((tmp_path / "artifacts/r/made/metrics.json").read_text()) == {"accuracy": 0.5}
    finally:
        os.kill(int((tmp_path / "artifacts/r/made/pid").read_text()), signal.SIGKILL)


def test_the_projects_packages_come_from_its_import_roots_and_recast_from_nowhere_else(run, tmp_path):
    for name in ("src/pipeline/__init__.py", "src/pipeline/net.py", "pipeline/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    # a package of theirs that is called as Recast is
    (tmp_path / "code/recast").mkdir(parents=True)
    (tmp_path / "code/recast/__init__.py").write_text("raise SystemExit('theirs')")
    run("imports", import_roots=("code", "src", "."))
    project, here, child = json.loads((tmp_path / "artifacts/r/made/found.json").read_text())
    assert project == [str(tmp_path), "code", "src", "."] and here == child
    assert here[0] == str(tmp_path / "src/pipeline/net.py") and not here[1].startswith(str(tmp_path))


@pytest.mark.parametrize("is_compiled", [False, True])
def test_code_that_was_edited_once_it_had_been_imported_is_told_from_what_was_imported_later(
    run, tmp_path, is_compiled
):
    (tmp_path / "own").mkdir()
    for name in ("__init__", "early", "late"):
        (tmp_path / f"own/{name}.py").write_text("EDITED = False\n")
    if is_compiled:
        compileall.compile_dir(tmp_path / "own", quiet=1)
    before = (tmp_path / "own/early.py").stat().st_mtime_ns
    outcome = run("edits")
    assert json.loads((tmp_path / "artifacts/r/made/metrics.json").read_text()) == {"early": False, "late": True}
    assert outcome.held == {str(tmp_path / "own/early.py"): before}
    assert run("good").held == {}


def test_times_stay_out_of_the_output(run, tmp_path):
    run("good")
    timings = json.loads((tmp_path / ".recast/timings/r-made.json").read_text())
    assert timings["latency"] == 0.5 and timings["seconds"] > 0
    assert sorted(path.name for path in (tmp_path / "artifacts/r/made").iterdir()) == ["metrics.json", "result.txt"]


def test_what_a_stage_measured_is_kept_with_the_result_that_it_is_of(run, tmp_path):
    run("good")
    stage = PlannedStage("r", None, "made", "made_up", {}, {}, (), (), {}, _stage())
    found = stage_call.read_timings_of_result(tmp_path, stage)
    assert found["speed"] == {"median": 0.25, "cpu": "one"} and found["seconds"] > 0
    (tmp_path / "artifacts/r/made/metrics.json").write_text('{"accuracy": 0.75}')  # as a restore of another would
    assert stage_call.read_timings_of_result(tmp_path, stage) == {}
    assert stage_call.read_timings(tmp_path, stage)["speed"]["median"] == 0.25


def test_the_last_error_is_that_of_the_newest_run_alone(run, tmp_path):
    assert stage_logs.last_error(tmp_path, "r-made") == ("", "")
    with pytest.raises(StageFailed):
        run("refuse")
    log, error = stage_logs.last_error(tmp_path, "r-made")
    assert error == "no samples" and (tmp_path / log).is_file()
    run("good")
    assert stage_logs.last_error(tmp_path, "r-made")[1] == ""


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


def test_an_output_folder_on_another_file_system(run, tmp_path):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / "artifacts").symlink_to(other)
        for _ in range(2):
            run("good")
            assert sorted(path.name for path in Path(other, "r/made").iterdir()) == ["metrics.json", "result.txt"]
            assert [path.name for path in Path(other, "r").iterdir()] == ["made"]


def test_an_output_that_cannot_be_put_into_place_says_why(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(RecastError, match=r"cannot be put into .*artifacts/r: No space left on device") as caught:
        run("good")
    assert "free space" in caught.value.remedy
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("refuse", "stage 'r/made' failed: no samples; give it some"),
        ("bug", r"failed: ValueError: shapes differ \(made_up.py:24\)"),
        ("crash", "was killed by signal 11"),
        ("exit", "ended with exit code 7"),
        ("limit", "failed: reading it took longer than 0.2 s; give it less"),
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
    assert (tmp_path / ".recast/failed/r-made/result.txt").read_text() == "1 (True, True)"
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
    with pytest.raises(RecastError, match=r"artifacts/r/made is not there; run 'recast run r'"):
        run("good", inputs={"data": "r/made"})


def test_only_the_newest_logs_are_kept(run, tmp_path, monkeypatch):
    monkeypatch.setattr(stage_logs, "LOGS_KEPT", 2)
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


def test_what_a_process_writes_last_is_heard_though_it_ends_while_nobody_listens():
    reading, writing = os.pipe()

    class Silent:
        """Says nothing for so long that it is looked at, and by then has said something and ended."""

        stdout = os.fdopen(reading)
        looked = False

        def has_ended(self):
            if not self.looked:
                os.write(writing, b"the last word\n")
            self.looked = True
            return True

    process = Silent()
    # a process of its own may hold the output open: the pipe never ends
    assert list(stage_call.lines(process, lambda: None)) == ["the last word\n"]
    os.close(writing)
    process.stdout.close()


def test_the_process_ends_with_a_runner_that_was_killed(tmp_path):
    """kill -9 of the runner: its stage notices that standard input closed and goes too."""
    (tmp_path / "made_up.py").write_text(STAGE.replace('print("noise of a tool")', "print(os.getpid(), flush=True)"))
    job = {"root": str(tmp_path), "module": "made_up", "params": {"mode": "hang"}, "directories": {}, "files": {}}
    job |= {"import_from": [], "data_roots": [], "scratch": str(tmp_path), "device": "cpu", "out": str(tmp_path)}
    job["project"] = {"root": str(tmp_path), "import_roots": ["."], "model_packages": []}
    script = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'recast.pipeline.processes.stage_process']\n"
        "p = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)\n"
        f"p.stdin.write({json.dumps(job)!r} + '\\n'); p.stdin.flush(); time.sleep(600)\n"
    )
    variables = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{tmp_path}", "OMP_NUM_THREADS": "1"}
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
    assert stage_call.data_roots(tmp_path) == (tmp_path / "one", tmp_path.parent / "two")
    # a copy that DVC makes for an experiment downloads nothing anew
    copy = tmp_path / ".dvc/tmp/exps/standalone/tmp1"
    (copy / ".git").mkdir(parents=True)
    shutil.copy(tmp_path / "params.yaml", copy)
    (tmp_path / "recipes").mkdir()
    assert stage_call.data_roots(copy) == stage_call.data_roots(tmp_path)
    monkeypatch.setenv("RECAST_DATA_ROOT", "/somewhere")
    assert stage_call.data_roots(tmp_path) == (Path("/somewhere"),)
