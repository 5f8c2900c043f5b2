"""Stages of recipes that are started before DVC is asked, by `run` with stages that do no work."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recast.pipeline.core.layout import GUARD
from recast.pipeline.dvc import remembered
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.execution import planned_run
from recast.pipeline.execution.events import Event, Message, State
from recast.pipeline.execution.executor import Result
from recast.pipeline.execution.head_start import HeadStart
from recast.pipeline.execution.interrupts import Interrupts
from recast.pipeline.execution.request import Request
from recast.pipeline.execution.scheduler import Machine
from recast.pipeline.execution.stage_runner import PlanRunner
from recast.pipeline.execution.task import Conditions, Options
from tests.lib import drive
from tests.pipeline.execution.test_edits_during_a_run import Editing, assert_recorded_as_run, edit, root

__all__ = ["root"]  # a fixture

REQUEST: dict[str, tuple[str, ...]] = {"recipes": ("base",), "targets": (), "stages": ()}


class Run:
    """`recast run base`, but for the display."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, between: Callable[[Path], object] | None = None):
        self.said: list[str] = []
        self.early: set[str] = set()
        Editing.edits = {}
        monkeypatch.setattr(planned_run, "PlanRunner", Editing)
        begin = HeadStart.begin

        def begun(head_start: HeadStart, runner: PlanRunner) -> None:
            begin(head_start, runner)
            self.early = set(head_start.started)
            if between:
                between(place)

        monkeypatch.setattr(HeadStart, "begin", begun)
        with contextlib.chdir(place), Interrupts() as interrupts:
            conditions = Conditions(place, Options(2), Machine(4, 8.0), self._take, interrupts)
            with HeadStart(conditions, remembered.recall(place, REQUEST)) as head_start:
                head_start.begin_shells()
                outcome = planned_run.run(Request(**REQUEST), conditions, head_start, self.said.append)
        self.result: Result = outcome.result
        monkeypatch.undo()

    def _take(self, event: Event) -> None:
        if isinstance(event, Message):
            self.said.append(event.text)

    def named(self, state: State) -> set[str]:
        return {name for name, ended in self.result.states.items() if ended is state}


def is_current(place: Path) -> bool:
    recalled = remembered.recall(place, REQUEST)
    return recalled is not None and recalled.is_current


def settle(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have everything run and remembered, which takes two runs: the first writes dvc.yaml."""
    Run(place, monkeypatch)
    Run(place, monkeypatch)
    assert is_current(place)


EDITS: dict[str, tuple[Callable[[Path], Any], set[str], set[str]]] = {
    # the edit -> what is started early, what else runs at least
    "a value of a recipe": (edit("epochs: 3", "epochs: 4"), {"base-train"}, {"base/train"}),
    "a value of a later stage": (edit("opset: 18", "opset: 19"), {"base-export"}, {"base/export"}),
    "a value of a target": (
        edit("calibrate: {}", "calibrate: {samples: 127}", "recipes/targets/akida.yaml"),
        {"base-akida-calibrate"},
        {"base/akida/calibrate"},
    ),
    "a default": (edit("train: {seed: 0", "train: {seed: 1", "params.yaml"), {"base-train"}, {"base/train"}),
    "the model's code": (edit("class Block", "class  Block", "models/layers.py"), {"base-train"}, {"base/train"}),
    "two values": (
        lambda place: [edit("epochs: 3", "epochs: 5")(place), edit("opset: 18", "opset: 20")(place)],
        {"base-train"},
        {"base/train", "base/export"},
    ),
    "a comment in a recipe": (edit("model: ", "# why\nmodel: "), set(), set()),
    "another recipe": (edit("lr: 0.5", "lr: 0.25", "recipes/other.yaml"), set(), set()),
    "nothing": (lambda place: None, set(), set()),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_an_edit_of_a_recipe_makes_run_starts_at_once(name, root, monkeypatch):
    settle(root, monkeypatch)
    do, early, ran = EDITS[name]
    do(root)
    run = Run(root, monkeypatch)
    assert run.early == early and ran <= run.named(State.DONE) and not run.result.failed
    if not ran:
        assert run.named(State.DONE) <= {GUARD}
    assert_recorded_as_run(root)
    assert is_current(root) and drive.status(root).keys() <= {GUARD, *_others(root)}
    assert Run(root, monkeypatch).named(State.DONE) == set()


def _others(place: Path) -> set[str]:
    """The stages that the request does not need."""
    with contextlib.chdir(place):
        return {name for name in drive.status(place) if name.startswith("other")}


def test_where_dvc_yaml_must_be_another_all_is_left_to_dvc(root, monkeypatch):
    settle(root, monkeypatch)
    edit("akida: {}", "akida: {calibrate: {samples: 17}}")(root)  # a mapping that was not there to be tracked
    run = Run(root, monkeypatch)
    assert run.early == set() and "wrote dvc.yaml" in run.said and "base/akida/calibrate" in run.named(State.DONE)
    assert json.loads((root / "artifacts/base/akida/calibrate/metrics.json").read_text())["samples"] == 17
    settle(root, monkeypatch)


def test_a_recipe_that_is_edited_as_its_stage_begins_is_run_as_it_is_then(root, monkeypatch):
    settle(root, monkeypatch)
    edit("epochs: 3", "epochs: 4")(root)
    run = Run(root, monkeypatch, between=edit("epochs: 4", "epochs: 5"))
    assert run.early == {"base-train"}
    assert "base/train is run again: what it reads was edited as it began" in run.said
    assert json.loads((root / "artifacts/base/train/metrics.json").read_text())["epochs"] == 5
    assert_recorded_as_run(root)
    after = Run(root, monkeypatch)
    assert after.named(State.DONE) <= {GUARD} and is_current(root)


def test_what_was_looked_at_is_not_looked_at_again(root, monkeypatch):
    settle(root, monkeypatch)
    edit("opset: 18", "opset: 19")(root)
    looked_at: list[str] = []
    look = Repository.is_changed
    monkeypatch.setattr(Repository, "is_changed", lambda self, step: looked_at.append(step.name) or look(self, step))
    run = Run(root, monkeypatch)
    assert run.early == {"base-export"} and not {"base-data", "base-train"} & set(looked_at)
