"""Recipes edited while stages of them run: through the executor, DVC and the guard, with stages that do no work."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from recast.pipeline.dvc.repository import Repository, Step
from recast.pipeline.dvc.sync import sync
from recast.pipeline.execution.events import Event, Message, Show, State
from recast.pipeline.execution.executor import Executor, Result
from recast.pipeline.execution.interrupts import Interrupts
from recast.pipeline.execution.scheduler import Machine
from recast.pipeline.execution.stage_runner import PlanRunner
from recast.pipeline.execution.task import Conditions, Options
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.stage_sections import sources_stamp
from tests.lib.repository import ROOT, parsed_lock

OTHER = "extends: base\nstages:\n  train: {lr: 0.5}\n"
Edits = dict[str, Callable[[Path], object]]


class Editing(PlanRunner):
    """Runs stages that write down their params; recipes are edited in the middle of some, or before the guard looks."""

    edits: Edits

    def run(self, step: Step, gpus: Sequence[str], show: Show) -> float | None:
        stage = self.planned(step)
        if stage:
            out = self.root / stage.out
            out.mkdir(parents=True)
            (out / "metrics.json").write_text(json.dumps(stage.params))
        self.edits.get(stage.id if stage else step.name, lambda root: None)(self.root)
        return 0.1 if stage else super().run(step, gpus, show)


@pytest.fixture
def root(write) -> Path:
    """Two recipes that nobody has run."""
    place: Path = write(
        {"recipes/other.yaml": OTHER, "device.txt": "cpu\n", ".dvcignore": (ROOT / ".dvcignore").read_text()}
    )
    plan = make_plan(place)
    for stage in plan.stages.values():
        for code in stage.code:
            (place / code).parent.mkdir(parents=True, exist_ok=True)
            if not (place / code).exists():
                (place / code).write_text("# python: 3.11\n")
    (place / "recast").touch(mode=0o755)  # as in a clone, which has a launcher of its own; no stage is called here
    with contextlib.chdir(place):
        Repo.init(no_scm=True).close()
    return place


def run(root: Path, targets: list[str], edits: Edits, jobs: int = 1) -> tuple[Result, list[str]]:
    said: list[str] = []

    def show(event: Event) -> None:
        if isinstance(event, Message):
            said.append(event.text)

    stamp = sources_stamp(root)
    plan = make_plan(root)
    sync(root, plan, lambda text: None)
    with (
        contextlib.chdir(root),
        contextlib.closing(Repository(root, said.append)) as repository,
        Editing(root, plan, stamp) as runner,
        Interrupts() as interrupts,
    ):
        runner.edits = edits
        executor = Executor(repository, runner, Conditions(root, Options(jobs), Machine(jobs, 8.0), show, interrupts))
        return executor.run(targets), said


def edit(old: str, new: str, file: str = "recipes/base.yaml") -> Callable[[Path], object]:
    def do(root: Path) -> None:
        path = root / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return do


def assert_recorded_as_run(root: Path) -> None:
    """What dvc.lock says that each stage was run with is what it was run with."""
    for name, entry in parsed_lock(root)["stages"].items():
        if "params" in entry:
            (out,) = entry["outs"]
            used: dict[str, Any] = json.loads((root / out["path"] / "metrics.json").read_text())
            for values in entry["params"].values():
                for key, value in values.items():
                    if key.startswith("stages."):
                        assert {param: used[param] for param in value} == value, (name, key)


def add(text: str, name: str = "new") -> Callable[[Path], object]:
    return lambda root: (root / f"recipes/{name}.yaml").write_text(text)


ELSEWHERE: Edits = {
    "a recipe added": add(OTHER),
    "a recipe broken": add("stages: [\n", "other"),
    "a recipe removed": lambda root: (root / "recipes/other.yaml").unlink(),
    "an editor's own file": lambda root: (root / "recipes/.#base.yaml").symlink_to("user@host.1234"),
    "a stage that has ended edited": edit("digits}", "digits, resize: 16}"),
}


@pytest.mark.parametrize("when", ["base/data", pytest.param("base/onnxruntime/quantize", marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", ELSEWHERE)
def test_what_does_not_concern_them_stops_no_stage(root, what, when):
    result, said = run(root, ["base"], {when: ELSEWHERE[what]})
    assert set(result.states.values()) == {State.DONE} and len(result.states) == 15, result.failed
    assert_recorded_as_run(root)
    assert all("guard" not in text for text in said)


def test_a_recipe_added_before_the_guard_has_run_leaves_it_to_be_run_again(root):
    """For a later `dvc repro`: dvc.yaml does not list the new recipe."""
    result, _ = run(root, ["base"], {"guard": add(OTHER)})
    assert set(result.states.values()) == {State.DONE}
    assert "guard" not in parsed_lock(root)["stages"]
    assert run(root, ["base"], {})[0].states["guard"] is State.DONE
    assert "guard" in parsed_lock(root)["stages"]


def test_a_value_of_a_stage_that_has_not_begun_is_the_one_it_is_run_and_recorded_with(root):
    result, said = run(root, ["base"], {"base/data": edit("epochs: 3", "epochs: 7")})
    assert set(result.states.values()) == {State.DONE}
    assert json.loads((root / "artifacts/base/train/metrics.json").read_text())["epochs"] == 7
    assert_recorded_as_run(root)
    assert not [text for text in said if "edited while" in text]


def test_a_value_of_a_stage_that_runs_is_left_for_the_next_run(root):
    result, _ = run(root, ["base"], {"base/train": edit("epochs: 3", "epochs: 7")})
    assert set(result.states.values()) == {State.DONE}
    assert json.loads((root / "artifacts/base/train/metrics.json").read_text())["epochs"] == 3
    assert_recorded_as_run(root)
    again, _ = run(root, ["base"], {})
    assert again.states["base/train"] is State.DONE and again.states["base/data"] is State.UP_TO_DATE
    assert_recorded_as_run(root)


def test_what_a_stage_cannot_be_run_with_fails_it_and_what_reads_it_alone(root):
    result, _ = run(root, ["base"], {"base/data": edit("akida: {}", "akida: {verify: {min_acuracy: 0.5}}")})
    assert set(result.failed) == {"base/akida/verify"}
    assert "no param 'min_acuracy'" in result.failed["base/akida/verify"].message
    assert result.states["base/onnxruntime/verify"] is State.DONE and result.states["base"] is State.SKIPPED
    assert_recorded_as_run(root)


def test_an_edit_that_needs_another_dvc_yaml_fails_the_stage_it_is_of_alone(root):
    # a mapping that was not there is not in dvc.yaml, so DVC would take no note of it
    result, _ = run(root, ["base"], {"base/data": edit("akida: {}", "akida: {verify: {min_accuracy: 0.5}}")})
    assert set(result.failed) == {"base/akida/verify"}
    assert "dvc.yaml no longer matches 'base/akida/verify'" in result.failed["base/akida/verify"].message
    again, _ = run(root, ["base"], {})
    assert not again.failed
    assert_recorded_as_run(root)
