"""Ctrl-C, SIGTERM and `kill -9` of a run: no process is left, what had finished is kept, the next run does the rest."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import psutil
import pytest

from recast.pipeline.dvc.repository import Repository
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import State
from tests.lib import drive
from tests.lib.drive import Driven, copies, lay, run, running, stage, started, wait_until

# what a run may take to stop: 5 s are promised, the rest is for a busy machine
STOPS_WITHIN = 20.0
# writes half of its output at once, and goes on only once it may
WAITS = (
    "{trap}echo half > {name}; sleep 600 & "
    "while test ! -e .dvc/tmp/go; do sleep 0.05; done; kill $!; echo {name} > {name}"
)
FINISHED = {"one", "two"}
WAITING = {"a", "b"}


def pipeline(trap: str = "") -> dict:
    """Two quick stages, two that wait until they may go on, and one that reads those."""
    waiting = {name: stage(name, WAITS.format(name=name, trap=trap), ["two"], [name]) for name in sorted(WAITING)}
    return {"one": copies("one", ["src"]), "two": copies("two", ["one"]), **waiting, "end": copies("end", ["a", "b"])}


@contextmanager
def waiting(root: Path) -> Iterator[Driven]:
    """A run that has come to where it waits; all that it and its stages had started is gone when the block ends."""
    with running(root) as driven:
        driven.until_running(*WAITING)
        wait_until(lambda: all((root / name).exists() for name in WAITING), "the stages began to write")
        children = psutil.Process(driven.process.pid).children(recursive=True)
        assert len(children) >= 2 * len(WAITING)
        yield driven
        wait_until(lambda: not left(children), f"all gone: {children}", STOPS_WITHIN)


def left(children: list[psutil.Process]) -> list[psutil.Process]:
    return [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def nothing_is_held(root: Path) -> None:
    assert drive.repro(root, ["one"]), "DVC is not busy"
    assert not list(root.rglob("*.new")), "no half-written lock"


def the_next_run_does_the_rest(root: Path) -> None:
    (root / ".dvc/tmp/go").touch()
    again = run(root)
    assert again.named(State.DONE) == WAITING | {"end"} and not again.result.failed
    assert started(root) == Counter({**dict.fromkeys(FINISHED, 1), **dict.fromkeys(WAITING, 2), "end": 1})
    assert drive.status(root) == {}
    drive.assert_cached(root)


@pytest.mark.parametrize("trap", ["", "trap '' TERM INT HUP; "], ids=["obeying", "ignoring"])
@pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False)],
    ids=["Ctrl-C", "INT", "TERM"],
)
def test_an_interrupted_run_stops_all_it_started_and_keeps_what_had_finished(tmp_path, number, to_all, trap):
    root = lay(tmp_path, {"src": "x\n"}, pipeline(trap))
    with waiting(root) as driven:
        asked = time.monotonic()
        if to_all:
            os.killpg(driven.process.pid, number)
        else:
            driven.process.send_signal(number)
        assert driven.end() == 130
        assert time.monotonic() - asked < STOPS_WITHIN
        assert driven.events[-1] == {"event": "Ended", "interrupted": True}
        assert driven.named(State.DONE) == FINISHED and driven.named(State.SKIPPED) == WAITING | {"end"}
        assert "Traceback" not in "".join(driven.noise)
    assert all((root / name).is_file() for name in FINISHED)
    assert not any((root / name).exists() for name in WAITING), "nothing half-written"
    assert set(drive.locks(root)["dvc.lock"]["stages"]) == FINISHED
    nothing_is_held(root)
    the_next_run_does_the_rest(root)


def test_a_run_that_hashes_a_large_file_stops_at_once(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, {"one": copies("one", ["large"])})
    with (root / "large").open("wb") as file:
        file.truncate(200 << 30)  # a hole: it takes no space, and minutes to hash
    with running(root) as driven:
        process = psutil.Process(driven.process.pid)
        wait_until(lambda: str(root / "large") in {file.path for file in process.open_files()}, "it is being hashed")
        driven.process.send_signal(signal.SIGINT)
        assert driven.end() == 130
    assert not (root / "one").exists() and not started(root)


def test_a_restore_that_is_interrupted_leaves_nothing_half_written(tmp_path, monkeypatch):
    root = lay(tmp_path, {"src": "x\n"}, {"one": copies("one", ["src"])})
    run(root)
    (root / "one").unlink()

    def half(self: Repository, step: Step, *, pull: bool = False) -> bool:
        (root / "one").write_text("half")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
        raise AssertionError("it was not interrupted")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Repository, "restore", half)
        run(root)
    assert not (root / "one").exists()
    assert run(root).named(State.CACHED) == {"one"}


def test_a_second_interrupt_kills_at_once(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, pipeline("trap 'touch .dvc/tmp/asked' TERM; "))
    with waiting(root) as driven:
        driven.process.send_signal(signal.SIGINT)
        # the commands were asked to stop and do not, so the run is still there
        wait_until((root / ".dvc/tmp/asked").exists, "the first one was taken")
        driven.process.send_signal(signal.SIGINT)
        assert driven.end() == 130
        assert "killed; what had finished is kept" in "".join(driven.noise)
        assert not any(event["event"] == "Ended" for event in driven.events)
    the_next_run_does_the_rest(root)


def test_a_command_that_outlives_its_shell_is_stopped_with_it(tmp_path):
    root = lay(
        tmp_path, {"src": "x\n"}, {"a": stage("a", "sleep 600 & echo $! > .dvc/tmp/pid; echo x > a", ["src"], ["a"])}
    )
    assert run(root).named(State.DONE) == {"a"}
    pid = int((root / ".dvc/tmp/pid").read_text())
    wait_until(lambda: not psutil.pid_exists(pid), "the background process is gone", STOPS_WITHIN)


def test_a_killed_run_leaves_no_process_and_no_lock_and_the_next_one_completes(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, pipeline())
    with waiting(root) as driven:
        driven.process.kill()
        driven.process.wait()
    nothing_is_held(root)
    the_next_run_does_the_rest(root)


def test_dvc_is_free_to_work_after_a_killed_run(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, pipeline())
    with waiting(root) as driven:
        driven.process.kill()
        driven.process.wait()
    (root / ".dvc/tmp/go").touch()
    assert drive.repro(root, ["dvc.yaml"]) and drive.status(root) == {}
    assert all(started(root)[name] == 1 for name in FINISHED)


# -- at any moment

MANY = {
    **{f"s{i}": copies(f"s{i}", ["src"]) for i in range(6)},
    **{f"t{i}": copies(f"t{i}", [f"s{i}", f"s{(i + 1) % 6}"]) for i in range(6)},
    "folder": stage(
        "folder", "mkdir -p folder/in; cat t0 t1 > folder/x; cat t2 > folder/in/y", ["t0", "t1", "t2"], ["folder"]
    ),
    "uncached": stage("uncached", "cat t3 > uncached", ["t3"], [{"uncached": {"cache": False}}]),
    "kept": stage("kept", "cat t4 > kept", ["t4"], [{"kept": {"persist": True}}]),
    "end": stage("end", "cat uncached kept folder/x > end", ["folder", "uncached", "kept"], ["end"]),
}


def kill_at_random_moments(place: Path, seed: int, kills: int) -> None:
    """Kill run after run of one repository until one completes; then change an input and go on."""
    random = Random(seed)
    root = lay(place, {"src": "text 0\n"}, MANY)
    whole = 0.0
    edits = 0
    done: Counter[str] = Counter()
    while kills:
        with running(root) as driven:
            began = time.monotonic()
            if whole:
                if random.random() < 0.5:
                    time.sleep(random.uniform(0.2, 1.0) * whole)
                else:  # near a stage's begin or end, where the bookkeeping is done
                    with suppress(AssertionError):
                        for _ in range(random.randrange(2 * len(MANY))):
                            driven.until(lambda event: "state" in event)
                    time.sleep(random.uniform(0.0, 0.05))
                driven.process.kill()
                kills -= 1
            code = driven.end()
        spent = time.monotonic() - began
        done += Counter(event["stage"] for event in driven.events if event.get("state") == "done")
        assert code in (0, -signal.SIGKILL), "".join(driven.noise)
        # the watchdog may need a moment; nothing of the run may then be writing still
        wait_until(lambda: not in_sessions_of(root), "no process of the run is left", STOPS_WITHIN)
        if code == 0:
            whole = whole or spent
            check_complete(root)
            edits += 1
            (root / "src").write_text(f"text {edits}\n")
    final = run(root)
    assert not final.result.failed
    check_complete(root)
    done += Counter(final.named(State.DONE))
    # every stage was done once for each content of src: never again after its end had been told
    assert set(done) == set(MANY)
    assert max(done.values()) <= edits + 1, done


def in_sessions_of(root: Path) -> list[psutil.Process]:
    """Processes that work in the repository."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def check_complete(root: Path) -> None:
    assert drive.status(root) == {}
    assert set(drive.locks(root)["dvc.lock"]["stages"]) == set(MANY)
    drive.assert_cached(root, {"uncached"})
    text = (root / "src").read_text()
    assert (root / "end").read_text().count(text) == 8, "all of it is made from what src holds now"


def test_a_run_killed_at_any_of_5_moments_is_completed_by_the_next(tmp_path):
    kill_at_random_moments(tmp_path, seed=0, kills=5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_run_killed_at_any_of_50_moments_is_completed_by_the_next(tmp_path, seed):
    kill_at_random_moments(tmp_path, seed, kills=10)
