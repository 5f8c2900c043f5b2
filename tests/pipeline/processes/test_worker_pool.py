"""Warm workers: each stage's process is a fresh one, whatever the one before it did, and none is left behind."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recast.pipeline.core.errors import Interrupted, RecastError, StageFailed
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.processes import environments
from recast.pipeline.processes.environments import Environment
from recast.pipeline.processes.stage_call import StageProcess
from recast.pipeline.processes.worker_pool import SERVER_LOGS, Workers
from recast.stages import registry
from recast.stages.base import Params, Stage
from tests.lib.drive import PATIENCE
from tests.lib.repository import ROOT, copy_repository

STAGE = """\
import json, os, random, sys, threading, time

import other
from recast.stages.base import Params, Stage, progress

class MadeUp(Params):
    mode: str = "look"

def run(params, inputs, out):
    progress("begun", 1, 2)
    seen = {
        "value": other.VALUE,
        "preloaded": "numpy" in sys.modules,
        "marked": hasattr(json, "mark"),
        "directory": os.getcwd(),
        "arguments": sys.argv,
        "path": sys.path,
        "main": sys.modules["__main__"].__spec__.name,
        "variables": {name: value for name, value in sorted(os.environ.items()) if name != "_"},
        "threads": threading.active_count(),
        "streams": [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "open": sorted(os.readlink(f"/proc/self/fd/{n}").partition(":")[0] for n in os.listdir("/proc/self/fd")
                       if os.path.exists(f"/proc/self/fd/{n}")),
        "leads": os.getpgid(0) == os.getsid(0) == os.getpid(),
        "hash": hash("a"),
    }
    (out / "seen.json").write_text(json.dumps(seen, sort_keys=True))
    (inputs.scratch.parents[2] / f"pids.{os.getpid()}").write_text(f"{os.getppid()} {random.random()}")
    if params.mode == "mark":
        json.mark = os.environ["MARK"] = "marked"
    if params.mode == "die":
        os.kill(os.getpid(), 9)
    if params.mode == "hang":
        print("hanging", os.getpid(), os.getppid(), flush=True)
        time.sleep(600)
    if params.mode == "family":
        if os.fork() == 0:
            import signal
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("child", os.getpid(), flush=True)
            time.sleep(600)
        time.sleep(600)
    return {"accuracy": 0.5}

STAGE = Stage(params=MadeUp, run=run)
"""


class _ThisPython(Environment):
    @property
    def python(self) -> Path:
        return Path(sys.executable)


@dataclass
class Repository:
    """A repository with one made-up stage, run in this Python."""

    root: Path
    preload: tuple[str, ...] = ("numpy",)
    logs: list[str] = field(default_factory=list)

    def run(self, workers: Workers | None, mode: str = "look", name: str = "made", **options: Any) -> Path:
        """Run the stage; its output directory."""
        resources = {"cpu": options.pop("cpu", 1), "memory": None, "gpu": 0, "isolated": False}
        live = options.pop("live", lambda text, done, total: None)
        params = {"mode": mode, "resources": resources}
        stage = PlannedStage("r", None, name, "made_up", params, {}, (), (), {}, _stage())
        environment = _ThisPython("none", self.root, "3.11", "", self.root, None, self.preload)
        plan = Plan({stage.id: stage}, {})
        timeout = options.pop("timeout", None)
        process = StageProcess(self.root, plan, stage, environment, live, self.logs.append, timeout)
        with contextlib.nullcontext(workers) if workers else Workers(self.root, warm=False) as starter:
            process.run(starter, **options)
        return self.root / stage.out

    def seen(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """What the stage saw of its process."""
        seen: dict[str, Any] = json.loads((self.run(*arguments, **options) / "seen.json").read_text())
        return seen

    def parents(self) -> dict[int, int]:
        """pid -> parent's pid of every process that has run a stage, the oldest first."""
        found = sorted((self.root / ".recast").glob("pids.*"), key=lambda path: path.stat().st_mtime_ns)
        return {int(path.suffix[1:]): int(path.read_text().split()[0]) for path in found}

    def is_clean(self) -> bool:
        return not list((self.root / ".recast/running").iterdir())


def _stage() -> Stage[Params]:
    return Stage(params=Params, run=lambda params, inputs, out: {})


@pytest.fixture
def repository(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("data_root: downloads\n")
    (tmp_path / "made_up.py").write_text(STAGE)
    (tmp_path / "other.py").write_text("VALUE = 1\n")
    monkeypatch.setitem(registry.REGISTRY, "made_up", registry.Entry("made_up", "none"))
    return Repository(tmp_path)


@contextmanager
def in_thread(call: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Run it in a thread meanwhile; what it raised is in the list at the end."""
    raised: list[BaseException] = []

    def catch() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=catch)
    thread.start()
    try:
        yield raised
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def wait_until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_warm_process_is_as_a_cold_one_but_for_what_it_has_imported(repository):
    cold = repository.seen(None)
    with Workers(repository.root) as workers:
        warm = repository.seen(workers)
        marked = repository.seen(workers, "mark")
        after = repository.seen(workers)
    assert (cold.pop("preloaded"), warm.pop("preloaded")) == (False, True)
    assert warm == cold
    assert not marked["marked"] and not after["marked"] and after["variables"] == cold["variables"]
    assert cold["leads"] and cold["streams"] == [0, 1, 2]


def test_output_and_log_are_the_same_cold_and_warm(repository):
    outputs = []
    for warm in (False, True):
        with Workers(repository.root, warm=warm) as workers:
            out = repository.run(workers)
        log = (repository.root / repository.logs[-1]).read_text()
        outputs.append((log, {p.name: p.read_bytes().replace(b"true", b"false") for p in out.iterdir()}))
    assert outputs[0] == outputs[1] and "[progress] begun (1/2)" in outputs[0][0]


def test_the_processes_of_one_environment_are_forked_from_one(repository):
    with Workers(repository.root) as workers:
        for cpu in (1, 1, 2):
            repository.run(workers, cpu=cpu)
        parents = list(repository.parents().values())
        assert parents[0] == parents[1] != parents[2]
        assert os.getpid() not in parents
        variables = repository.seen(workers, cpu=2, gpus=["1", "3"])["variables"]
    assert variables["CUDA_VISIBLE_DEVICES"] == "1,3" and variables["OMP_NUM_THREADS"] == "2"
    assert not any(is_alive(server) for server in parents)


def test_what_is_random_differs_as_in_a_cold_process(repository):
    with Workers(repository.root) as workers:
        repository.run(workers)
        repository.run(workers)
    values = {path.read_text().split()[1] for path in (repository.root / ".recast").glob("pids.*")}
    assert len(values) == 2


def test_an_edited_module_is_read_anew(repository):
    with Workers(repository.root) as workers:
        assert repository.seen(workers)["value"] == 1
        (repository.root / "other.py").write_text("VALUE = 22\n")
        assert repository.seen(workers)["value"] == 22


@pytest.mark.parametrize("options", [{"isolated": True}, {"warm": False}, {"preload": ()}])
def test_an_isolated_stage_has_a_cold_process(repository, options):
    repository.preload = options.get("preload", repository.preload)
    with Workers(repository.root, warm=options.get("warm", True)) as workers:
        seen = repository.seen(workers, isolated=options.get("isolated", False))
    assert list(repository.parents().values()) == [os.getpid()] and not seen["preloaded"]


def test_several_stages_at_once_are_independent(repository):
    with Workers(repository.root) as workers:
        with in_thread(lambda: repository.run(workers, "hang", "slow")) as raised:
            wait_until(repository.parents, "the slow one began")
            (slow,) = repository.parents()
            threads = [threading.Thread(target=repository.run, args=(workers, "look", f"s{n}")) for n in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            assert all((repository.root / f"artifacts/r/s{n}/seen.json").exists() for n in range(6))
            with pytest.raises(StageFailed, match="was killed by signal 9"):
                repository.run(workers, "die", "dying")
            assert is_alive(slow)
            os.kill(slow, signal.SIGKILL)
        assert "was killed by signal 9" in str(raised[0])
        assert len(set(repository.parents().values())) == 1
    assert repository.is_clean()


def test_a_server_that_dies_is_replaced_and_takes_its_stage_along(repository):
    with Workers(repository.root) as workers:
        with in_thread(lambda: repository.run(workers, "hang")) as raised:
            wait_until(repository.parents, "the stage began")
            ((pid, server),) = repository.parents().items()
            os.kill(server, signal.SIGKILL)
        assert isinstance(raised[0], StageFailed)
        assert "packages of the environment 'none' was killed by signal 9" in str(raised[0])
        assert not is_alive(pid) and repository.is_clean()
        repository.run(workers)
        assert server not in list(repository.parents().values())[1:]


def test_a_server_that_dies_between_two_stages_is_not_noticed(repository):
    with Workers(repository.root) as workers:
        for _ in range(8):
            repository.run(workers)
            os.kill(list(repository.parents().values())[-1], signal.SIGKILL)
        assert len(set(repository.parents().values())) == 8


def test_a_server_that_dies_while_it_preloads_is_tried_once_more(repository):
    site = repository.root / ".lib"
    site.mkdir()
    (site / "deadly.py").write_text(
        f"import os; open({str(site / 'tries')!r}, 'a').write('x'); os.kill(os.getpid(), 11)"
    )
    (site / "numpy.py").write_text(f"import sys; sys.path.append({str(site)!r})")
    repository.preload = ("numpy", "deadly")
    (repository.root / "numpy.py").symlink_to(site / "numpy.py")
    with Workers(repository.root) as workers, pytest.raises(StageFailed, match="was killed by signal 11"):
        repository.run(workers)
    assert (site / "tries").read_text() == "xx" and repository.is_clean()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("no_such_module", "cannot preload no_such_module: ModuleNotFoundError: No module named 'no_such_module'"),
        ("other", "cannot preload other: of the repository, so a change of it would not be seen"),
    ],
)
def test_what_cannot_be_preloaded_is_a_clear_error(repository, module, message):
    repository.preload = ("numpy", module)
    with Workers(repository.root) as workers:
        for _ in range(2):
            with pytest.raises(RecastError, match=message) as failure:
                repository.run(workers)
    assert "correct '# preload:' at the head of envs/none.in and envs/none.txt" in str(failure.value)
    assert repository.is_clean()
    (log,) = (repository.root / SERVER_LOGS).iterdir()
    assert log.name == "none.log"
    assert ("Traceback" in log.read_text()) == (module == "no_such_module")


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("mode", ["hang", "family"])
def test_closing_ends_what_runs_at_once(repository, warm, mode):
    workers = Workers(repository.root, warm=warm)
    began = time.monotonic()
    with in_thread(lambda: repository.run(workers, mode)) as raised:
        wait_until(lambda: repository.logs and len(repository.parents()) == 1, "the stage began")
        log = repository.root / repository.logs[0]
        # the whole line: its words come one by one
        whole = re.compile(r"^child \d+\n" if mode == "family" else r"^hanging \d+ \d+\n", re.MULTILINE)
        wait_until(lambda: whole.search(log.read_text()), "it has said whose process it is")
        began = time.monotonic()
        workers.close()
    assert time.monotonic() - began < PATIENCE, "its ten minutes were waited for"
    assert isinstance(raised[0], Interrupted) and "was stopped with the run" in str(raised[0])
    assert repository.is_clean() and not (repository.root / "artifacts/r/made").exists()
    said = [line.split() for line in log.read_text().splitlines() if line.startswith(("hanging", "child"))]
    for pid in [*repository.parents(), *(int(words[1]) for words in said)]:
        wait_until(lambda pid=pid: not is_alive(pid), "it ended")
    with pytest.raises(Interrupted, match="before this stage began"):
        repository.run(workers)


def test_closing_while_it_preloads_does_not_wait_for_that(repository):
    (repository.root / ".lib").mkdir()
    began_to = repository.root / "preloading"
    (repository.root / ".lib/slow.py").write_text(f"import time; open({str(began_to)!r}, 'w'); time.sleep(600)")
    (repository.root / "numpy.py").symlink_to(repository.root / ".lib/slow.py")
    workers = Workers(repository.root)
    with in_thread(lambda: repository.run(workers)) as raised:
        wait_until(began_to.exists, "it preloads")
        began = time.monotonic()
        workers.close()
    assert time.monotonic() - began < PATIENCE, "its ten minutes were waited for"
    assert isinstance(raised[0], Interrupted) and repository.is_clean()


@pytest.mark.parametrize("warm", [True, False])
def test_a_stage_that_takes_too_long_is_stopped(repository, warm):
    with Workers(repository.root, warm=warm) as workers:
        with pytest.raises(StageFailed, match=r"longer than 0.5 s; raise --timeout.*\n  log: .recast/logs/r-made"):
            repository.run(workers, "hang", timeout=0.5)
        assert not any(is_alive(pid) for pid in repository.parents())
        assert repository.is_clean()
        repository.run(workers, timeout=60)


def test_a_runner_that_is_killed_leaves_no_process(repository):
    script = (
        "import sys; from pathlib import Path\n"
        "from recast.stages import registry\n"
        "registry.REGISTRY['made_up'] = registry.Entry('made_up', 'none')\n"
        "from tests.pipeline.processes.test_worker_pool import Repository\n"
        "from recast.pipeline.processes.worker_pool import Workers\n"
        f"repository = Repository(Path({str(repository.root)!r}))\n"
        "repository.run(Workers(repository.root), 'family')\n"
    )
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    runner = subprocess.Popen([sys.executable, "-c", script], env=variables, cwd=ROOT)
    try:
        wait_until(lambda: list((repository.root / ".recast/logs/r-made").glob("*.log")), "the stage began")
        (log,) = (repository.root / ".recast/logs/r-made").glob("*.log")
        wait_until(lambda: re.search(r"^child \d+\n", log.read_text(), re.MULTILINE), "it has a child of its own")
        ((pid, server),) = repository.parents().items()
        child = int(log.read_text().split("child ")[1].split()[0])
        assert all(map(is_alive, (pid, server, child)))
    finally:
        runner.kill()
        runner.wait()
    for process in (pid, server):
        wait_until(lambda process=process: not is_alive(process), "it ended")
    wait_until(lambda: not is_alive(child), "the stage's child ended")


@pytest.mark.parametrize("when", ["before it imports", "as it imports"])
def test_a_server_whose_runner_is_gone_does_not_go_on_importing(tmp_path, when):
    """Nobody is there any more that could end it."""
    (tmp_path / "slow.py").write_text("import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(600)\n")
    ours, theirs = socket.socketpair()
    with (
        theirs,
        subprocess.Popen(
            [sys.executable, "-m", "recast.pipeline.processes.fork_server", "slow"],
            stdin=theirs.fileno(),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT), str(tmp_path)])},
        ) as server,
    ):
        theirs.close()
        try:
            if when == "as it imports":
                wait_until((tmp_path / "begun").exists, "it imports")
                time.sleep(0.1)
                assert server.poll() is None
            ours.close()
            assert server.wait(PATIENCE) == 0
        finally:
            server.kill()


def test_the_servers_log_stays_small(repository):
    log = repository.root / SERVER_LOGS / "none.log"
    log.parent.mkdir(parents=True)
    log.write_text("x" * 1_000_000)
    with Workers(repository.root) as workers:
        repository.run(workers)
    assert log.stat().st_size < 10_000


def test_no_file_stays_open_and_no_thread_runs_on(repository):
    def count() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    before = count()
    for _ in range(3):
        with Workers(repository.root) as workers:
            repository.run(workers)
            with pytest.raises(StageFailed):
                repository.run(workers, "die")
    assert count() == before


@pytest.mark.slow
@pytest.mark.parametrize("cpu", [1, 2])
def test_every_stage_of_digits_gives_the_same_bytes_cold_and_warm(tmp_path, cpu):
    root = tmp_path / "clone"
    root.mkdir()
    copy_repository(root)
    plan = make_plan(root, ["digits"])
    built = {stage.environment for stage in plan.stages.values()}
    ready = {name: environments.ensure(root, name, print) for name in built}
    assert all(environment.preload for environment in ready.values())

    # what is compared is the same after two epochs as after twenty; the limits are for a trained model
    plan.stages["digits/train"].params["epochs"] = 2
    for stage in plan.stages.values():
        stage.params["resources"]["cpu"] = cpu
        stage.params.update({limit: None for limit in ("min_accuracy", "min_agreement") if limit in stage.params})

    def run_all(workers: Workers) -> dict[str, str]:
        for stage in plan.stages.values():
            environment = ready[stage.environment]
            # a fork that cannot go on would hang for ever
            StageProcess(root, plan, stage, environment, lambda *said: None, timeout=300).run(workers)
        files = sorted(path for path in (root / "artifacts").rglob("*") if path.is_file())
        return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    with Workers(root, warm=False) as workers:
        cold = run_all(workers)
    assert len(cold) > 30
    with Workers(root, warm=True) as workers:
        # the second time from servers that have forked every stage before
        for _ in range(2):
            assert run_all(workers) == cold
