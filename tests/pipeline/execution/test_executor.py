"""Stages side by side, leaving what `dvc repro` leaves: plain DVC repositories, the real DVC, shell commands."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecastError, StageFailed
from recast.pipeline.execution.events import Changed, Ended, Planned, State
from recast.pipeline.execution.scheduler import Machine, Need
from recast.pipeline.execution.task import Task
from tests.lib import drive
from tests.lib.drive import copies, lay, run, stage, started

# each says it is there and waits for the other: done only if both run at the same time
MEET = (
    "touch {here}; for i in $(seq 600); do test -e {there} && break; sleep 0.05; done; "
    "test -e {there} && echo x > {out}"
)
# a line when it begins and one when it ends, which no two commands can mix up
CLOCKED = "echo {name}+ >> .dvc/tmp/clock; sleep {seconds}; echo {name}. >> .dvc/tmp/clock; echo {name} > {name}"


def chain(length: int = 4) -> dict:
    return {f"s{i}": copies(f"s{i}", [f"s{i - 1}" if i else "src"]) for i in range(length)}


def diamond() -> dict:
    return {
        "top": copies("top", ["src"]),
        "left": copies("left", ["top"]),
        "right": copies("right", ["top"]),
        "bottom": copies("bottom", ["left", "right"]),
    }


def wide(width: int = 6) -> dict:
    leaves = {f"s{i}": copies(f"s{i}", ["src"]) for i in range(width)}
    return {**leaves, "join": copies("join", sorted(leaves))}


def clocked(*names: str, seconds: float = 0.15) -> dict:
    return {name: stage(name, CLOCKED.format(name=name, seconds=seconds), ["src"], [name]) for name in names}


def together(root: Path) -> list[set[str]]:
    """The sets of stages that ran at the same time, one for each beginning and end."""
    now: set[str] = set()
    found = []
    for line in (root / ".dvc/tmp/clock").read_text().split():
        now = now | {line[:-1]} if line[-1] == "+" else now - {line[:-1]}
        found.append(now)
    return found


def same(one: Path, other: Path) -> None:
    assert drive.locks(one) == drive.locks(other)
    assert drive.files(one) == drive.files(other)
    assert drive.cache(one) == drive.cache(other)


def test_a_runner_is_told_what_will_run_and_nothing_that_may_be_restored(tmp_path, monkeypatch):
    told: list[list[str]] = []
    monkeypatch.setattr(drive.Needing, "expect", lambda self, steps, show: told.append([step.name for step in steps]))
    root = lay(tmp_path / "one", {"src": "x\n"}, diamond())
    run(root)
    assert told == [["top", "left", "right", "bottom"]]
    told.clear()
    run(root)
    assert told == []
    # `top` may give what it gave, and then nothing else runs; it does not, so both of its readers do
    (root / "src").write_text("y\n")
    run(root)
    assert told[0] == ["top"] and sorted(name for names in told for name in names) == ["bottom", "left", "right", "top"]
    told.clear()
    (root / "src").write_text("z\n")
    shutil.rmtree(root / ".dvc/cache/files")
    run(root)
    assert told == [["top", "left", "right", "bottom"]]
    told.clear()
    run(root, force=True)
    assert sorted(name for names in told for name in names) == ["bottom", "left", "right", "top"]


@pytest.mark.parametrize("shape", [chain, diamond, wide])
@pytest.mark.parametrize("jobs", [1, 4])
def test_a_run_leaves_what_repro_leaves_and_neither_runs_anything_after_the_other(tmp_path, shape, jobs):
    one = lay(tmp_path / "one", {"src": "x\n"}, shape())
    other = Path(shutil.copytree(one, tmp_path / "other"))
    ours = run(one, jobs=jobs)
    assert drive.repro(other)
    assert ours.named(State.DONE) == set(shape()) == set(started(one)) == set(started(other))
    same(one, other)
    drive.assert_cached(one)
    assert drive.status(one) == {}
    before = started(one)
    assert drive.repro(one) and run(other).named(State.UP_TO_DATE) == set(shape())
    assert started(one) == started(other) == before
    same(one, other)


def test_results_come_from_the_cache_whoever_put_them_there(tmp_path):
    one = lay(tmp_path / "one", {"src": "x\n"}, diamond())
    other = Path(shutil.copytree(one, tmp_path / "other"))
    run(one)
    drive.repro(other)
    for text in ("y\n", "x\n"):
        for root in (one, other):
            (root / "src").write_text(text)
        # what one has put into the cache the other finds: the roles change
        done, one, other = run(other), other, one
        drive.repro(one)
        drive.repro(other)
        same(one, other)
        assert done.named(State.DONE if text == "y\n" else State.CACHED) == set(diamond())
    assert set(started(one).values()) == {2}


def test_events_tell_the_run_in_order(tmp_path):
    ours = run(lay(tmp_path, {"src": "x\n"}, chain(2)))
    assert ours.events[0] == Planned(("s0", "s1"))
    assert isinstance(ours.events[-1], Ended) and not ours.events[-1].interrupted
    states = [(event.stage, event.state) for event in ours.events if isinstance(event, Changed)]
    assert states == [(name, state) for name in ("s0", "s1") for state in (State.RUNNING, State.DONE)]
    logs = [event.log for event in ours.events if isinstance(event, Changed) and event.state is State.RUNNING]
    assert all((tmp_path / log).is_file() for log in logs)


def test_only_the_targets_and_what_they_need_are_run(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, {**diamond(), "alone": copies("alone", ["src"])})
    assert run(root, ["left"]).named(State.DONE) == {"top", "left"} == set(started(root))


# -- side by side


def test_independent_stages_run_at_the_same_time(tmp_path):
    pair = {
        name: stage(name, MEET.format(here=f".dvc/tmp/{name}", there=f".dvc/tmp/{other}", out=name), ["src"], [name])
        for name, other in (("a", "b"), ("b", "a"))
    }
    assert run(lay(tmp_path, {"src": "x\n"}, pair), jobs=2).named(State.DONE) == {"a", "b"}


def test_a_reader_starts_while_a_slow_stage_that_it_does_not_read_goes_on(tmp_path):
    wait = "for i in $(seq 600); do test -e after && break; sleep 0.05; done; test -e after && echo x > slow"
    stages = {
        "slow": stage("slow", wait, ["src"], ["slow"]),
        "first": copies("first", ["src"]),
        "after": copies("after", ["first"]),
    }
    assert run(lay(tmp_path, {"src": "x\n"}, stages), jobs=2).named(State.DONE) == set(stages)


def test_one_job_never_runs_two_at_once(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, clocked(*"abcd", seconds=0.05))
    run(root, jobs=1, machine=Machine(8, 8.0))
    assert max(map(len, together(root))) == 1


@pytest.mark.parametrize(
    ("machine", "needs"),
    [
        (Machine(4, 8.0), {"a": Need(3), "b": Need(2), "c": Need(1), "d": Need(2), "e": Need(9)}),
        (
            Machine(9, 8.0),
            {"a": Need(memory=5), "b": Need(memory=4), "c": Need(memory=3), "d": Need(memory=8), "e": Need()},
        ),
        (
            Machine(9, 8.0, ("0", "1")),
            {"a": Need(gpu=1), "b": Need(gpu=2), "c": Need(gpu=1), "d": Need(gpu=1), "e": Need()},
        ),
    ],
    ids=["cpu", "memory", "gpu"],
)
def test_what_runs_together_never_needs_more_than_the_machine_has(tmp_path, machine, needs):
    root = lay(tmp_path, {"src": "x\n"}, clocked(*needs))
    ours = run(root, jobs=5, machine=machine, tasks={name: Task(name, need) for name, need in needs.items()})
    assert ours.named(State.DONE) == set(needs)
    for names in together(root):
        assert len(names) <= 1 or sum(needs[name].cpu for name in names) <= machine.cores
        assert sum(needs[name].memory for name in names) <= machine.memory
        assert sum(needs[name].gpu for name in names) <= len(machine.gpus)
    assert max(map(len, together(root))) > 1


def test_every_stage_gets_gpus_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = "echo $CUDA_VISIBLE_DEVICES > .dvc/tmp/gpus-{0}; "
    pair = {
        name: stage(
            name,
            seen.format(name) + MEET.format(here=f".dvc/tmp/{name}", there=f".dvc/tmp/{other}", out=name),
            ["src"],
            [name],
        )
        for name, other in (("a", "b"), ("b", "a"))
    }
    pair["none"] = stage("none", seen.format("none") + "echo x > none", ["src"], ["none"])
    tasks = {"a": Task("a", Need(gpu=1)), "b": Task("b", Need(gpu=2))}
    root = lay(tmp_path, {"src": "x\n"}, pair)
    assert run(root, tasks=tasks, machine=Machine(8, 8.0, ("5", "6", "GPU-7"))).named(State.DONE) == set(pair)
    given = {name: (root / f".dvc/tmp/gpus-{name}").read_text().strip().split(",") for name in pair}
    assert sorted(given["a"] + given["b"]) == ["5", "6", "GPU-7"] and len(given["b"]) == 2
    assert given["none"] == [""], "no GPU was asked for, and none was given"


def test_what_the_machine_can_never_give_is_refused_before_anything_runs(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, chain())
    with pytest.raises(
        RecastError, match=r"stage 'big' asks for 2 GPUs, and this machine has none.*stage 'fat'.*64 GiB"
    ):
        run(root, tasks={"s0": Task("big", Need(gpu=2)), "s3": Task("fat", Need(memory=64))})
    assert not started(root)
    assert drive.repro(root), "nothing is held"


def test_the_longest_chain_is_started_first(tmp_path):
    stages = {
        **{f"a{i}": copies(f"a{i}", ["src"]) for i in range(4)},
        "z": copies("z", ["src"]),
        "end": copies("end", ["z"]),
    }
    root = lay(tmp_path, {"src": "x\n"}, stages)
    run(root, jobs=1)
    assert next(iter(started(root))) == "z"


# -- failures


FAILING = {
    **diamond(),
    "bad": stage("bad", "echo to the log; test -e .dvc/tmp/mended && echo x > bad", ["top"], ["bad"]),
    "after": copies("after", ["bad"]),
    "last": copies("last", ["after", "bottom"]),
}


def test_a_failure_stops_what_depends_on_it_and_a_rerun_does_only_what_is_missing(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, FAILING)
    ours = run(root)
    assert ours.named(State.FAILED) == {"bad"} and ours.named(State.SKIPPED) == {"after", "last"}
    assert ours.named(State.DONE) == set(diamond())
    assert {e.because for e in ours.events if isinstance(e, Changed) and e.state is State.SKIPPED} == {"bad"}
    error = ours.result.failed["bad"]
    assert isinstance(error, StageFailed) and "ended with exit code 1" in error.message
    assert error.tail[-1] == "to the log" and "to the log" in (root / error.log).read_text()
    (root / ".dvc/tmp/mended").touch()
    again = run(root)
    assert again.named(State.DONE) == {"bad", "after", "last"} and not again.result.failed
    assert started(root) == Counter({**dict.fromkeys(FAILING, 1), "bad": 2})
    assert drive.status(root) == {}


def test_without_keep_going_nothing_new_is_started_after_a_failure(tmp_path):
    stages = {"bad": stage("bad", "exit 7", ["src"], ["bad"]), **clocked(*"abcd", seconds=0.01)}
    root = lay(tmp_path, {"src": "x\n"}, stages)
    # the longest is started first
    tasks = {name: Task(name, seconds=99.0 if name == "bad" else 1.0) for name in stages}
    ours = run(root, jobs=1, tasks=tasks, keep_going=False)
    assert ours.named(State.FAILED) == {"bad"} and ours.named(State.SKIPPED) == set("abcd")
    assert set(started(root)) == {"bad"}
    kept = run(root, jobs=1, tasks=tasks)
    assert kept.named(State.FAILED) == {"bad"} and kept.named(State.DONE) == set("abcd")


def test_without_keep_going_what_runs_already_is_finished_and_kept(tmp_path):
    wait = "for i in $(seq 600); do test -e .dvc/tmp/failed && break; sleep 0.05; done; sleep 0.2; echo x > slow"
    stages = {
        "slow": stage("slow", wait, ["src"], ["slow"]),
        "bad": stage("bad", "sleep 0.2; touch .dvc/tmp/failed; exit 7", ["src"], ["bad"]),
        "after": copies("after", ["slow"]),
    }
    root = lay(tmp_path, {"src": "x\n"}, stages)
    ours = run(root, jobs=2, keep_going=False)
    assert (ours.named(State.DONE), ours.named(State.SKIPPED)) == ({"slow"}, {"after"})
    assert set(drive.status(root)) == {"bad", "after"}


def test_a_stage_that_does_not_make_its_output_fails(tmp_path):
    ours = run(
        lay(
            tmp_path,
            {"src": "x\n"},
            {"liar": stage("liar", "true", ["src"], ["out"]), "after": copies("after", ["out"])},
        )
    )
    assert ours.named(State.FAILED) == {"liar"} and ours.named(State.SKIPPED) == {"after"}
    assert "'out' does not exist" in ours.result.failed["liar"].message


def test_a_missing_dependency_fails_the_stage_alone(tmp_path):
    ours = run(lay(tmp_path, {"src": "x\n"}, {"lost": copies("lost", ["nowhere"]), **chain(2)}))
    assert ours.named(State.FAILED) == {"lost"} and ours.named(State.DONE) == {"s0", "s1"}
    assert "nowhere" in ours.result.failed["lost"].message


def test_a_failed_stage_is_tried_again_as_often_as_asked(tmp_path):
    # the first two times it leaves a mark and fails
    flaky = (
        "test -e .dvc/tmp/{0}-2 && echo x > {0} || "
        "{{ test -e .dvc/tmp/{0}-1 && touch .dvc/tmp/{0}-2; touch .dvc/tmp/{0}-1; exit 1; }}"
    )
    root = lay(tmp_path, {"src": "x\n"}, {"a": stage("a", flaky.format("a"), ["src"], ["a"]), "b": copies("b", ["a"])})
    assert run(root, retries=1).named(State.FAILED) == {"a"} and started(root)["a"] == 2
    for mark in (root / ".dvc/tmp").glob("a-?"):
        mark.unlink()
    ours = run(root, retries=2)
    assert ours.named(State.DONE) == {"a", "b"} and started(root)["a"] == 5
    assert [text.rpartition("; ")[2] for text in ours.messages] == ["trying again (1 of 2)", "trying again (2 of 2)"]
    assert all(text.startswith("stage 'a' failed: ") for text in ours.messages)
    assert drive.status(root) == {}


def test_what_cannot_be_mended_by_trying_is_not_tried_again(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, {"liar": stage("liar", "true", ["src"], ["out"])})
    assert run(root, retries=3).named(State.FAILED) == {"liar"} and started(root)["liar"] == 1


def test_a_stage_that_takes_too_long_fails_with_all_it_started(tmp_path):
    slow = "sleep 600 & echo $! > .dvc/tmp/pid; trap '' TERM; sleep 600; echo x > slow"
    root = lay(tmp_path, {"src": "x\n"}, {"slow": stage("slow", slow, ["src"], ["slow"]), **chain(2)})
    ours = run(root, timeout=5)  # for the others it must be long enough on a busy machine
    assert ours.named(State.FAILED) == {"slow"} and ours.named(State.DONE) == {"s0", "s1"}
    assert "took longer than 5 s" in ours.result.failed["slow"].message
    pid = int((root / ".dvc/tmp/pid").read_text())
    drive.wait_until(lambda: not alive(pid), "what the stage had started is gone")


def test_a_failed_or_stopped_stage_leaves_nothing_half_written(tmp_path):
    half = stage("half", "mkdir -p folder; echo half > folder/a; echo half > file; exit 1", ["src"], ["folder", "file"])
    root = lay(tmp_path, {"src": "x\n"}, {"half": half})
    run(root)
    assert not (root / "folder").exists() and not (root / "file").exists()


def alive(pid: int) -> bool:
    """Whether the process runs; one that waits for its parent to take note of its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# -- what DVC knows beside cached files


def test_stages_that_the_run_cache_cannot_restore_are_in_the_lock_at_once(tmp_path):
    stages = {
        "plain": copies("plain", ["src"]),
        "uncached": stage("uncached", "cp plain uncached", ["plain"], [{"uncached": {"cache": False}}]),
        "kept": stage("kept", "echo x > kept", ["plain"], [{"kept": {"persist": True}}]),
        "rootless": stage("rootless", "echo x > rootless", (), ["rootless"]),
        "late": stage("late", "cp dvc.lock .dvc/tmp/seen; echo x > late", ["uncached", "kept", "rootless"], ["late"]),
    }
    root = lay(tmp_path, {"src": "x\n"}, stages)
    assert run(root).named(State.DONE) == set(stages)
    seen = (root / ".dvc/tmp/seen").read_text()
    assert all(f"\n  {name}:" in seen for name in ("uncached", "kept", "rootless"))
    assert run(root).named(State.UP_TO_DATE) == set(stages)


def test_a_command_list_is_run_in_order_until_one_fails(tmp_path):
    entry = stage("many", "", ["src"], ["many"])
    entry["cmd"] = ["echo 1 > many", "echo 2 >> many", f"echo many >> {drive.RAN}"]
    root = lay(tmp_path, {"src": "x\n"}, {"many": entry})
    run(root)
    assert (root / "many").read_text() == "1\n2\n" and drive.status(root) == {}
    entry["cmd"][1] = "exit 4"
    drive.describe(root / "dvc.yaml", {"many": entry})
    assert "'exit 4' ended with exit code 4" in run(root).result.failed["many"].message
    assert started(root)["many"] == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_frozen_stage_is_not_looked_at_while_its_inputs_are_being_written(tmp_path, fails):
    """DVC hashes them once the frozen stage's entry is lost, and has the writer run before it or after it."""
    slow = f"sleep 0.3; echo x > slow; {'exit 1' if fails else 'true'}"
    stages = {
        "slow": stage("slow", slow, ["src"], ["slow"]),
        "frozen": {**copies("frozen", ["slow"]), "frozen": True},
        "end": copies("end", ["frozen"]),
    }
    one = lay(tmp_path / "one", {"src": "x\n", "slow": "old\n", "frozen": "old\n"}, stages)
    other = Path(shutil.copytree(one, tmp_path / "other"))
    assert bool(run(one).result.failed) != drive.repro(other)
    assert drive.locks(one) == drive.locks(other) and started(one) == started(other)


def test_force_runs_everything_and_changes_nothing(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, diamond())
    run(root)
    before = drive.locks(root), drive.files(root), drive.cache(root)
    assert run(root, force=True).named(State.DONE) == set(diamond())
    assert set(started(root).values()) == {2}
    assert (drive.locks(root), drive.files(root), drive.cache(root)) == before


def test_the_lock_is_sorted_by_name_and_keeps_what_is_not_asked_for(tmp_path):
    root = lay(
        tmp_path, {"src": "x\n"}, {"b": copies("b", ["src"]), "a": copies("a", ["b"]), "c": copies("c", ["src"])}
    )
    run(root, ["c"])
    run(root, ["a"])
    assert list(drive.locks(root)["dvc.lock"]["stages"]) == ["a", "b", "c"]


def test_nothing_is_left_of_the_run_but_results_and_logs(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, diamond())
    run(root)
    assert {path.name for path in (root / ".dvc/tmp").iterdir()} <= {"btime", "lock", "ran", "rwlock", "rwlock.lock"}
    assert (root / ".dvc/tmp/rwlock").read_text() in ("{}", '{"write": {}, "read": {}}', '{"read": {}, "write": {}}')
    assert os.environ.get("DVC_ROOT") is None
