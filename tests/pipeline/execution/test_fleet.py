"""Which worker a stage is given to, and what is said of one that none can hold."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.execution import fleet as fleets
from recast.pipeline.execution.fleet import Fleet
from recast.pipeline.execution.scheduler import Machine, Need
from recast.pipeline.execution.stage_executor import Site, open_executor


class Workers:
    """An executor that has workers, and never runs anything."""

    def __init__(self, workers: Mapping[str, Machine], refused: Mapping[str, str] | None = None) -> None:
        self.there = dict(workers)
        self.not_there = dict(refused or {})

    def workers(self) -> Mapping[str, Machine]:
        return self.there

    def refused(self) -> Mapping[str, str]:
        return self.not_there


def fleet(**workers: Machine) -> Fleet:
    return Fleet(Machine(1, 1.0), 1, Workers(workers))  # type: ignore[arg-type]


def one(**more: object) -> Need:
    return Need(elsewhere=True, **more)  # type: ignore[arg-type]


def test_stages_go_to_the_worker_with_most_to_spare_and_no_further_than_what_it_has():
    found = fleet(small=Machine(1, 8.0), large=Machine(3, 8.0))
    for name in ("a", "b", "c", "d"):
        assert found.fits(one(), name)
        found.take(name, one())
    assert sorted(found.placed.values()) == ["large", "large", "large", "small"]
    assert not found.fits(one(), "e")
    found.give_back("a")
    assert found.fits(one(), "e") and found.hopeless(one(), "e") == ""


def test_what_runs_here_takes_nothing_of_the_workers_and_the_other_way_round():
    found = fleet(a=Machine(1, 8.0))
    found.take("summary", Need())
    assert found.fits(one(), "train") and not found.fits(Need(), "other")
    found.take("train", one())
    assert found.placed == {"train": "a"} and found.free_cores == 0
    found.give_back("summary")
    assert found.fits(Need(), "other")


def test_memory_gpus_and_labels_are_counted_for_each_worker():
    found = fleet(a=Machine(8, 16.0, ("0",), (("licence", 2.0),)), b=Machine(8, 64.0))
    found.take("one", one(memory=40.0))
    assert found.placed["one"] == "b" and not found.fits(one(memory=40.0), "two")
    found.take("gpu", one(gpu=1))
    assert found.placed["gpu"] == "a" and not found.fits(one(gpu=1), "other")
    found.take("licensed", one(labels=(("licence", 2.0),)))
    assert found.placed["licensed"] == "a" and not found.fits(one(labels=(("licence", 1.0),)), "other")


@pytest.mark.parametrize(
    ("need", "said"),
    [
        (one(memory=100.0), "a: asks for 100 GiB of memory, and this machine has 8.0; b: asks for 100 GiB"),
        (one(gpu=1), "asks for 1 GPU, and this machine has none"),
        (one(labels=(("a100", 1.0),)), "asks for 1 of 'a100', and this machine has 0"),
    ],
)
def test_a_stage_that_none_can_hold_is_refused_with_what_each_lacks(need, said):
    assert said in fleet(a=Machine(1, 8.0), b=Machine(64, 16.0)).lacks(need)


def test_more_threads_than_cores_are_no_reason_to_refuse_and_such_a_stage_has_a_worker_to_itself():
    found = fleet(a=Machine(2, 8.0))
    assert found.lacks(one(cpu=8)) == "" and found.fits(one(cpu=8), "wide")
    found.take("wide", one(cpu=8))
    assert not found.fits(one(), "other")


def test_a_worker_that_failed_a_stage_is_not_given_it_again_while_there_are_others():
    workers = Workers({"a": Machine(4, 8.0), "b": Machine(1, 8.0)})
    found = Fleet(Machine(1, 1.0), 1, workers)  # type: ignore[arg-type]
    found.avoid("train", "a")
    found.take("train", one())
    assert found.placed["train"] == "b" and not found.fits(one(cpu=1), "train")
    found.give_back("train")
    del workers.there["b"]
    assert found.fits(one(), "train")  # the only one is better than none
    workers.there.clear()
    workers.not_there["c"] = "it is at another commit"
    assert found.hopeless(one(), "train") == "no worker is left to run it; c was refused: it is at another commit"


def test_a_worker_that_failed_a_stage_is_given_no_other_for_a_while_nor_all_there_are_one_by_one(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(fleets.time, "monotonic", lambda: now[0])
    workers = Workers({"bad": Machine(4, 8.0), "good": Machine(1, 8.0)})
    found = Fleet(Machine(1, 1.0), 1, workers)  # type: ignore[arg-type]
    found.avoid("a", "bad")
    found.take("b", one())
    assert found.placed["b"] == "good" and not found.fits(one(), "c")  # it waits for the good one
    now[0] += fleets.PAUSE_SECONDS + 1
    assert found.fits(one(), "c")
    found.avoid("c", "bad")
    now[0] += fleets.PAUSE_SECONDS + 1
    assert not found.fits(one(), "d")
    now[0] += fleets.PAUSE_SECONDS
    assert found.fits(one(), "d")
    found.avoid("d", "bad")
    del workers.there["bad"]
    assert not found.fits(one(), "e")
    workers.there["bad"] = Machine(4, 8.0)  # started anew
    assert found.fits(one(), "e")


@pytest.mark.parametrize("address", ["tpc://host:1", "local", "", "/a/path"])
def test_an_address_for_which_there_is_no_executor_is_refused_with_what_it_may_be(address, tmp_path):
    with pytest.raises(RecastError, match="no executor for '--on ") as refused:
        open_executor(Site(tmp_path, address, print, lambda: None))
    assert "tcp://HOST:PORT" in refused.value.remedy


def test_a_package_brings_an_executor_by_an_entry_point(tmp_path, monkeypatch):
    (tmp_path / "slurm_double.py").write_text("def opened(site):\n    return ('slurm', site.address)\n")
    info = tmp_path / "slurm_double-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slurm-double\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[recast.executors]\nslurm = slurm_double:opened\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert open_executor(Site(tmp_path, "slurm:gpu", print, lambda: None)) == ("slurm", "slurm:gpu")
