"""Stages that are started before DVC is asked: which, and that the run ends as `dvc repro` does from the same edit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.stage.cache import _get_cache_hash
from ruamel.yaml import YAML

from recast.pipeline.core.errors import RecastError
from recast.pipeline.dvc import remembered
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.execution.events import Changed, Event, Message, Planned, State
from recast.pipeline.execution.executor import Executor, Result
from recast.pipeline.execution.head_start import HeadStart
from recast.pipeline.execution.interrupts import Interrupts
from recast.pipeline.execution.outlook import run_cache_key
from recast.pipeline.execution.scheduler import Machine
from recast.pipeline.execution.task import Conditions, Options
from tests.lib import drive
from tests.lib.drive import copies, describe, lay, stage, started, wait_until

FILES = {
    "a.txt": "a\n",
    "b.txt": "b\n",
    "code/part.py": "x = 1\n",
    "params.yaml": "a: {lr: 0.1, deep: {er: [1, 2]}}\nb: {lr: 0.1}\n",
    "values.txt": "fine\n",
}
# two chains that meet, and one apart whose command can fail
STAGES: dict[str, Any] = {
    "a1": copies("a1", ["a.txt", "code/part.py"], params=["a"]),
    "a2": copies("a2", ["a1"]),
    "b1": copies("b1", ["b.txt"], params=["b.lr"]),
    "b2": stage("b2", "mkdir b2 && cp b1 b2/copy", ["b1"], ["b2"]),
    "join": copies("join", ["a2", "b2/copy"]),
    "apart": stage("apart", "grep fine values.txt > apart", ["values.txt"], ["apart"]),
}
REQUEST = {"recipes": ["all"]}


class Run:
    """One run, as `recast run` makes it, over a repository of shell stages."""

    def __init__(self, root: Path, between: Callable[[], object] = lambda: None, *, jobs: int = 2, **options: Any):
        self.events: list[Event] = []
        with contextlib.chdir(root), Interrupts() as interrupts:
            conditions = Conditions(root, Options(jobs, **options), Machine(4, 8.0), self.events.append, interrupts)
            with HeadStart(conditions, remembered.recall(root, REQUEST)) as head_start:
                head_start.begin_shells()
                head_start.begin(head_start.shells)
                self.early = set(head_start.started)
                between()
                repository = Repository(root, lambda text: self.events.append(Message(text)))
                with contextlib.closing(repository):
                    executor = Executor(repository, head_start.shells, conditions, head_start)
                    self.result: Result = executor.run(["dvc.yaml"], remembered.sources(root))
        found = self.result.remembered
        assert found
        memory = remembered.Memory(
            tuple(self.result.states), (), "", found.steps, found.runs, found.locks, found.is_complete
        )
        remembered.remember(root, REQUEST, found.evidence, memory)

    def named(self, state: State) -> set[str]:
        return {name for name, ended in self.result.states.items() if ended is state}

    @property
    def messages(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Message)]


def is_current(root: Path) -> bool:
    recalled = remembered.recall(root, REQUEST)
    return recalled is not None and recalled.is_current


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Path, Path]:
    """Two repositories in which everything has run, one of which remembers that."""
    ours = lay(tmp_path / "ours", FILES, STAGES)
    theirs = lay(tmp_path / "theirs", FILES, STAGES)
    assert Run(ours).early == set() and is_current(ours)
    assert drive.repro(theirs)
    return ours, theirs


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


def both(*edits: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda root: [edit(root) for edit in edits]


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def damage(name: str) -> Callable[[Path], object]:
    """Write into the cached object of an output, which DVC takes for sound for ever."""

    def edit(root: Path) -> None:
        entry = next(entry for entry in drive.locks(root)["dvc.lock"]["stages"][name]["outs"])
        place = root / ".dvc/cache/files/md5" / entry["md5"][:2] / entry["md5"][2:]
        place.chmod(0o644)
        place.write_text("damaged\n")

    return edit


def with_command(root: Path) -> None:
    stages = {**STAGES, "a1": {**STAGES["a1"], "cmd": STAGES["a1"]["cmd"] + " && echo more >> a1"}}
    describe(root / "dvc.yaml", stages)


def make_folder(root: Path) -> None:
    (root / "b.txt").unlink()
    (root / "b.txt").mkdir()
    (root / "b.txt/b").write_text("b\n")


PARAMS = "a: {lr: 0.1, deep: {er: [1, 2]}}\nb: {lr: 0.1}\n"
A_RATE = write("params.yaml", PARAMS.replace("a: {lr: 0.1", "a: {lr: 0.2"))
B_RATE = write("params.yaml", PARAMS.replace("b: {lr: 0.1", "b: {lr: 0.2"))

# the edit -> what is started before DVC is asked
EDITS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "a param of one stage": (A_RATE, {"a1"}),
    "a param deep inside": (write("params.yaml", PARAMS.replace("[1, 2]", "[1, 3]")), {"a1"}),
    "a param of another in the same file": (B_RATE, {"b1"}),
    "a value that is the same number of another kind": (
        write("params.yaml", PARAMS.replace("b: {lr: 0.1", "b: {lr: 1.0e-1")),
        set(),
    ),
    "a comment in a params file": (write("params.yaml", PARAMS + "# why\n"), set()),
    "a param that nobody tracks": (write("params.yaml", PARAMS + "c: 1\n"), set()),
    "a param gone": (write("params.yaml", PARAMS.replace("b: {lr: 0.1}", "b: {}")), set()),
    "a code file": (write("code/part.py", "x = 2\n"), {"a1"}),
    "a code file written again as it was": (write("code/part.py", "x = 1\n"), set()),
    "a program, whose mode DVC looks at": (
        both(write("code/part.py", "x = 3\n"), lambda root: (root / "code/part.py").chmod(0o755)),
        set(),
    ),
    "a file that became a folder": (make_folder, set()),
    "a file gone": (lambda root: (root / "b.txt").unlink(), set()),
    "two edits": (both(write("a.txt", "a2\n"), B_RATE), {"a1", "b1"}),
    "two edits in one chain": (both(write("b.txt", "b2\n"), B_RATE), {"b1"}),
    "an edit, and an output gone behind it": (both(A_RATE, lambda root: (root / "a2").unlink()), {"a1"}),
    "an edit, and an output gone elsewhere": (both(A_RATE, lambda root: remove(root / "b2")), {"a1"}),
    "an edit, and its own output gone": (both(A_RATE, lambda root: (root / "a1").unlink()), {"a1"}),
    "an output gone": (lambda root: (root / "a1").unlink(), set()),
    "an output edited by hand": (write("a1", "by hand\n"), set()),
    "an edit behind an output edited by hand": (both(write("b1", "by hand\n"), A_RATE), {"a1"}),
    "a command": (with_command, set()),
    "a command and a param": (both(with_command, A_RATE), set()),
    "another dvc.yaml": (
        both(
            lambda root: (root / "new").mkdir(),
            write("new/dvc.yaml", "stages: {n: {cmd: echo > n, outs: [n]}}\n"),
            A_RATE,
        ),
        set(),
    ),
    "a folder that DVC does not mind": (
        both(lambda root: (root / "notes").mkdir(), write("notes/note", "n\n"), A_RATE),
        {"a1"},
    ),
    "what DVC ignores": (both(write(".dvcignore", "*.tmp\n"), A_RATE), set()),
    "the lock gone": (both(lambda root: (root / "dvc.lock").unlink(), A_RATE), set()),
    "nothing": (lambda root: None, set()),
}


@pytest.mark.parametrize("name", EDITS)
def test_it_ends_as_dvc_repro_does_from_the_same_edit(name, twins):
    ours, theirs = twins
    edit, early = EDITS[name]
    for root in twins:
        edit(root)
    went_well = drive.repro(theirs, ["dvc.yaml"])
    run = Run(ours)
    assert run.early == early
    assert (not run.result.failed) == went_well
    assert started(ours) == started(theirs) and drive.locks(ours) == drive.locks(theirs)
    if went_well:  # else DVC leaves what is half-written
        assert drive.files(ours) == drive.files(theirs)
        status = drive.status(ours)
        assert status == drive.status(theirs) and status.keys().isdisjoint(STAGES)
    assert is_current(ours) == went_well, remembered.recall(ours, REQUEST)
    drive.assert_cached(ours)
    # and nothing is left to do, which only a look at everything can say
    if went_well:
        assert drive.run(ours).named(State.UP_TO_DATE) == set(STAGES)


def test_a_params_file_that_is_no_yaml_is_refused_as_ever(twins):
    ours, _ = twins
    write("params.yaml", "a: {\n")(ours)
    with pytest.raises(RecastError, match=r"params\.yaml"):
        Run(ours)
    assert started(ours)["a1"] == 1
    A_RATE(ours)
    assert Run(ours).early == {"a1"} and is_current(ours)


def test_where_dvc_yaml_takes_values_from_elsewhere_all_is_left_to_dvc(tmp_path):
    stages = {"one": copies("one", ["${what}"]), "two": copies("two", ["src"], params=["lr"])}
    root = lay(tmp_path, {"src": "x\n", "other": "y\n", "params.yaml": "what: src\nlr: 1\n"}, stages)
    Run(root)
    write("params.yaml", "what: other\nlr: 2\n")(root)
    run = Run(root)
    assert run.early == set() and run.named(State.DONE) == {"one", "two"}
    assert drive.status(root) == {} and is_current(root)


def test_what_the_run_cache_knows_is_restored_and_not_run(twins):
    ours, theirs = twins
    for edit, early in ((A_RATE, {"a1"}), (write("params.yaml", PARAMS), set()), (A_RATE, set())):
        for root in twins:
            edit(root)
        drive.repro(theirs)
        assert Run(ours).early == early
        assert started(ours) == started(theirs) and drive.locks(ours) == drive.locks(theirs)
        assert drive.status(ours) == {} and is_current(ours)
    assert started(ours)["a1"] == 2


def test_a_damaged_object_is_seen_beside_an_edit(twins):
    ours, _ = twins
    both(damage("b1"), A_RATE)(ours)
    run = Run(ours)
    assert run.early == {"a1"}
    assert any("b1 is damaged in DVC's cache" in text for text in run.messages)
    assert started(ours)["b1"] == 1 and run.named(State.UP_TO_DATE) >= {"b1", "b2", "apart"}
    drive.assert_cached(ours)
    assert drive.status(ours) == {} and is_current(ours)


def test_a_stage_that_failed_is_started_at_once_when_it_was_mended(twins):
    ours, theirs = twins
    for text, early in (("bad\n", {"apart"}), ("worse\n", {"apart"}), ("fine again\n", {"apart"})):
        for root in twins:
            write("values.txt", text)(root)
        went_well = drive.repro(theirs)
        run = Run(ours)
        assert run.early == early and run.named(State.FAILED) == (set() if went_well else {"apart"})
        assert started(ours) == started(theirs) and drive.locks(ours) == drive.locks(theirs)
        assert is_current(ours) == went_well
    assert drive.status(ours) == {}


def test_what_failed_and_was_put_back_is_restored(twins):
    ours, _ = twins
    write("values.txt", "bad\n")(ours)
    assert Run(ours).named(State.FAILED) == {"apart"}
    write("values.txt", FILES["values.txt"])(ours)
    run = Run(ours)
    assert run.early == set() and run.named(State.CACHED) == {"apart"} and is_current(ours)
    assert drive.status(ours) == {}


def test_what_was_skipped_is_left_to_dvc(twins):
    ours, theirs = twins
    stages = {**STAGES, "last": copies("last", ["apart", "a1"])}
    for root in twins:
        describe(root / "dvc.yaml", stages)
        both(write("values.txt", "bad\n"), A_RATE)(root)
    drive.repro(theirs)
    assert Run(ours).named(State.SKIPPED) == {"last"}
    for root in twins:
        write("values.txt", "fine at last\n")(root)
    assert drive.repro(theirs)
    run = Run(ours)
    assert run.early == {"apart"} and run.named(State.DONE) == {"apart", "last"}
    assert drive.locks(ours) == drive.locks(theirs) and drive.status(ours) == {} and is_current(ours)


def test_a_checkout_of_an_earlier_state(twins):
    ours, _ = twins
    subprocess.run(["git", "add", "--all"], cwd=ours, check=True)
    commit = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--message", "x"]
    subprocess.run(commit, cwd=ours, check=True)
    A_RATE(ours)
    assert Run(ours).early == {"a1"}
    subprocess.run(["git", "checkout", "--quiet", "--", "params.yaml", "dvc.lock"], cwd=ours, check=True)
    run = Run(ours)
    assert run.early == set() and run.named(State.DONE) == set()
    assert drive.status(ours) == {} and is_current(ours) and started(ours)["a1"] == 2


def test_an_edit_made_as_a_stage_begins_is_what_it_is_run_with(twins):
    ours, theirs = twins
    write("a.txt", "first\n")(ours)
    write("a.txt", "second\n")(theirs)
    drive.repro(theirs)
    run = Run(ours, between=lambda: write("a.txt", "second\n")(ours))
    assert run.early == {"a1"} and started(ours)["a1"] == 3
    assert "a1 is run again: what it reads was edited as it began" in run.messages
    assert drive.locks(ours) == drive.locks(theirs) and drive.files(ours) == drive.files(theirs)
    assert drive.status(ours) == {} and is_current(ours)


def test_an_edit_of_something_else_as_a_stage_begins_is_not_taken_for_looked_at(twins):
    ours, _ = twins
    A_RATE(ours)
    run = Run(ours, between=lambda: write("b.txt", "later\n")(ours))
    assert run.early == {"a1"} and run.named(State.UP_TO_DATE) >= {"b1"}
    assert "edited while the run went on, so to be run again: b1" in run.messages
    assert not is_current(ours)
    assert Run(ours).named(State.DONE) == {"b1", "b2", "join"} and drive.status(ours) == {} and is_current(ours)


def test_only_as_many_are_started_as_there_are_jobs_and_what_is_forced_is_left_to_the_executor(twins):
    ours, _ = twins
    both(A_RATE, write("b.txt", "b2\n"), write("values.txt", "fine too\n"))(ours)
    assert Run(ours, jobs=1).early == {"a1"}
    A = write("a.txt", "a3\n")
    A(ours)
    assert Run(ours, force=True).early == set()


def test_the_display_is_told_once_what_the_run_has_and_what_runs_at_once(twins):
    ours, _ = twins
    A_RATE(ours)
    seen: list[Event] = []
    run = Run(ours, between=lambda: seen.append(Message("between")))
    assert sum(isinstance(event, Planned) for event in run.events) == 1
    kinds = [event.state for event in run.events[:2] if isinstance(event, Changed)]
    assert isinstance(run.events[0], Planned) and kinds == [State.RUNNING]


@contextlib.contextmanager
def begun(root: Path) -> Iterator[HeadStart]:
    with contextlib.chdir(root), Interrupts() as interrupts:
        conditions = Conditions(root, Options(2), Machine(4, 8.0), lambda event: None, interrupts)
        with HeadStart(conditions, remembered.recall(root, REQUEST)) as head_start:
            head_start.begin(head_start.shells)
            yield head_start


def claims(root: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((root / ".dvc/tmp/rwlock").read_text())
    return {kind: paths for kind, paths in said.items() if paths}


def test_other_dvc_commands_see_what_is_used_and_whoever_gives_up_leaves_nothing(tmp_path):
    stages = {"slow": stage("slow", "cat src > slow && while test -e wait; do sleep 0.05; done", ["src"], ["slow"])}
    root = lay(tmp_path, {"src": "x\n"}, stages)
    Run(root)
    write("src", "y\n")(root)
    write("wait", "")(root)
    with pytest.raises(RuntimeError, match="gives up"), begun(root) as head_start:
        assert set(head_start.started) == {"slow"}
        held = claims(root)
        assert str(root / "src") in held["read"] and list(held["write"]) == [str(root / "slow")]
        refused = subprocess.run(
            [sys.executable, "-m", "dvc", "repro"], cwd=root, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert refused.returncode and "is busy" in refused.stderr
        raise RuntimeError("gives up")
    assert claims(root) == {} and not (root / "slow").exists()
    (root / "wait").unlink()
    assert Run(root).named(State.DONE) == {"slow"} and drive.status(root) == {} and claims(root) == {}


def test_ctrl_c_before_dvc_is_there_stops_what_runs(tmp_path):
    stages = {"slow": stage("slow", "cat src > slow && while test -e wait; do sleep 0.05; done", ["src"], ["slow"])}
    root = lay(tmp_path, {"src": "x\n"}, stages)
    Run(root)
    write("src", "y\n")(root)
    write("wait", "")(root)

    def interrupt() -> None:
        wait_until(lambda: started(root)["slow"] == 2, "the stage has begun")
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Run(root, between=interrupt)
    assert started(root)["slow"] == 2 and not (root / "slow").exists() and claims(root) == {}
    (root / "wait").unlink()
    assert Run(root).early == {"slow"} and (root / "slow").read_text() == "y\n"
    assert drive.status(root) == {} and is_current(root)


def test_where_somebody_else_has_files_it_is_left_to_dvc_to_wait(twins):
    ours, _ = twins
    A_RATE(ours)
    info = {"pid": os.getppid(), "cmd": "dvc repro"}
    (ours / ".dvc/tmp/rwlock").write_text(json.dumps({"write": {str(ours / "elsewhere"): info}}))
    with begun(ours) as head_start:
        assert not head_start.started
    assert claims(ours)["write"] == {str(ours / "elsewhere"): info}
    killed = subprocess.Popen(["true"])
    killed.wait()
    info["pid"] = killed.pid
    (ours / ".dvc/tmp/rwlock").write_text(json.dumps({"write": {str(ours / "elsewhere"): info}}))
    assert Run(ours).early == {"a1"} and claims(ours) == {}


def test_the_key_of_an_entry_is_the_run_caches(twins):
    _, theirs = twins
    entries = drive.locks(theirs)["dvc.lock"]["stages"]
    kept = {path.parent.name for path in (theirs / ".dvc/cache/runs").rglob("*") if path.is_file()}
    assert {run_cache_key(entry) for entry in entries.values()} == kept
    odd = {"cmd": ["é", "x"], "deps": [{"path": "d", "size": 3}], "params": {"p": {"size": 1, "a": {"nfiles": 2.5}}}}
    entry = YAML(typ="safe").load(json.dumps({**odd, "outs": [{"path": "o", "md5": "x"}]}))
    assert run_cache_key(entry) == _get_cache_hash(dict(entry), key=True)
