"""What runs together fits the machine."""

from __future__ import annotations

import os
from random import Random

import pytest

from recast.pipeline.execution.scheduler import Budget, Machine, Need, remaining_path, this_machine

SMALL = Machine(4, 8.0, ("0", "1"))


@pytest.mark.parametrize(
    ("need", "reason"),
    [
        (Need(), ""),
        (Need(cpu=64), ""),  # results depend on the number of threads, so it must run here too
        (Need(memory=8.0), ""),
        (Need(memory=8.5), "asks for 8.5 GiB of memory, and this machine has 8.0"),
        (Need(gpu=3), "asks for 3 GPUs, and this machine has 2"),
    ],
)
def test_what_a_machine_lacks_is_said(need, reason):
    assert SMALL.lacks(need) == reason
    assert Machine(4, 8.0).lacks(Need(gpu=1)) == "asks for 1 GPU, and this machine has none"


def test_a_stage_with_more_threads_than_cores_has_the_machine_to_itself():
    shared = Budget(SMALL, jobs=8)
    assert shared.fits(Need(cpu=16))
    shared.take("big", Need(cpu=16))
    assert not shared.fits(Need())
    shared.give_back("big")
    shared.take("small", Need())
    assert shared.fits(Need()) and not shared.fits(Need(cpu=16))


def test_no_more_run_than_there_are_jobs():
    shared = Budget(Machine(64, 64.0), jobs=2)
    shared.take("a", Need())
    assert shared.fits(Need())
    shared.take("b", Need())
    assert not shared.fits(Need())


@pytest.mark.parametrize("seed", range(20))
def test_random_takings_never_exceed_the_machine_and_no_gpu_is_shared(seed):
    random = Random(seed)
    shared = Budget(SMALL, jobs=4)
    given: dict[str, tuple[str, ...]] = {}
    for number in range(200):
        need = Need(random.randint(1, 4), random.choice([0.0, 2.0, 5.0]), random.choice([0, 0, 1, 2]))
        if shared.fits(need):
            given[f"s{number}"] = shared.take(f"s{number}", need)
            assert len(given[f"s{number}"]) == need.gpu
        elif given:
            name = random.choice(sorted(given))
            shared.give_back(name)
            del given[name]
        gpus = [id for ids in given.values() for id in ids]
        assert len(gpus) == len(set(gpus)) and set(gpus) <= set(SMALL.gpus)
        assert set(shared.taken) == set(given) and len(given) <= 4
        assert sum(need.cpu for need in shared.taken.values()) <= SMALL.cores
        assert sum(need.memory for need in shared.taken.values()) <= SMALL.memory


@pytest.mark.parametrize(
    ("visible", "gpus"), [("", ()), ("-1", ()), ("2", ("2",)), ("0,GPU-5", ("0", "GPU-5")), ("0,-1", ("0",))]
)
def test_the_gpus_are_those_that_cuda_may_see(monkeypatch, visible, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert this_machine().gpus == gpus


def test_this_machine_is_what_this_process_may_use(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine = this_machine()
    assert machine.cores == len(os.sched_getaffinity(0)) and 0 < machine.memory < 1e6


def test_the_rest_of_a_path_is_its_longest_chain():
    seconds = {"a": 1.0, "b": 5.0, "c": 2.0, "d": 3.0, "alone": 4.0}
    readers = {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": [], "alone": []}
    order = ["a", "b", "c", "d", "alone"]
    assert remaining_path(seconds, readers, order) == {"a": 9.0, "b": 8.0, "c": 5.0, "d": 3.0, "alone": 4.0}
