"""A stage runs with what its recipe says when its inputs are hashed, and nothing else that is edited stops it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from recast.pipeline.core.errors import RecastError, RecipeError
from recast.pipeline.dvc import dvcfile
from recast.pipeline.execution import stage_runner
from recast.pipeline.execution.stage_runner import PlanRunner
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.stage_sections import sources_stamp

TRAIN, EXPORT, GUARD, SUMMARY = (SimpleNamespace(name=name) for name in ("base-train", "base-export", "guard", "base"))
OTHER = "extends: base\nstages:\n  train: {lr: 0.5}\n"


@pytest.fixture
def planned(write) -> tuple[Path, PlanRunner]:
    """A repository, and a runner of its plan."""
    root = write({"recipes/other.yaml": OTHER})
    stamp = sources_stamp(root)
    plan = make_plan(root)
    dvcfile.write(root, plan)
    ours = PlanRunner(root, plan, stamp)
    for step in (TRAIN, EXPORT):
        ours.task(step)
    return root, ours


def edit(root: Path, old: str, new: str, file: str = "recipes/base.yaml") -> None:
    path = root / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_value_edited_between_plan_and_run_is_planned_again(planned):
    root, ours = planned
    edit(root, "epochs: 3", "epochs: 42")
    assert not ours.is_as_before(TRAIN), "what DVC has noted may be what it was before"
    assert ours.is_as_before(TRAIN)
    assert ours.planned(TRAIN).params["epochs"] == 42


ELSEWHERE: dict[str, Callable[[Path], object]] = {
    "another recipe edited": lambda root: edit(root, "0.5", "0.25", "recipes/other.yaml"),
    "another recipe broken": lambda root: edit(root, "0.5}", "", "recipes/other.yaml"),
    "a recipe added": lambda root: (root / "recipes/new.yaml").write_text(OTHER),
    "a broken recipe added": lambda root: (root / "recipes/new.yaml").write_text("stages: [\n"),
    "a recipe that is not text added": lambda root: (root / "recipes/new.yaml").write_bytes(b"\xff\0"),
    "a recipe removed": lambda root: (root / "recipes/other.yaml").unlink(),
    "a target added": lambda root: (root / "recipes/targets/tpu.yaml").write_text("stages: {emit: {}}\n"),
    "a target that this stage is not of, broken": lambda root: edit(root, "stages:", "stages: [", AKIDA),
    "a target dropped from the recipe": lambda root: edit(root, "  onnxruntime: {}\n", ""),
    "a target's stage given a value": lambda root: edit(root, "akida: {}", "akida: {verify: {min_accuracy: 0.5}}"),
    "a target's stage given a wrong value": lambda root: edit(root, "akida: {}", "akida: {verify: {min: 0.5}}"),
    "a stage that it reads given a value": lambda root: edit(root, "digits}", "digits, resize: 16}"),
    "a stage that it reads given a wrong value": lambda root: edit(root, "digits}", "digits, resize: many}"),
    "a stage after it given a value": lambda root: edit(root, "opset: 18", "opset: 17"),
    "a stage after it given a wrong value": lambda root: edit(root, "opset: 18", "opset: much"),
    "defaults of another stage": lambda root: edit(root, "data: {seed: 0}", "data: {seed: 1}", "params.yaml"),
    "what is no recipe at all": lambda root: (root / "recipes/README.md").write_text("text"),
    "an editor's own file": lambda root: (root / "recipes/.#base.yaml").symlink_to("user@host.1234"),
}
AKIDA = "recipes/targets/akida.yaml"


@pytest.mark.parametrize("change", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_edited_elsewhere_does_not_stop_a_stage(planned, change):
    root, ours = planned
    before = ours.planned(TRAIN)
    change(root)
    ours.is_as_before(TRAIN)
    assert ours.is_as_before(TRAIN)
    assert ours.planned(TRAIN).params == before.params
    assert dvcfile.stage_entry(ours.plan, ours.planned(TRAIN)) == dvcfile.stage_entry(ours.plan, before)


OWN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a wrong value": (lambda root: edit(root, "epochs: 3", "epochs: many"), r"recipes/base.yaml:4:11: 'epochs'"),
    "an unknown param": (lambda root: edit(root, "epochs", "epoch"), r"base.yaml:4:11: .* did you mean 'epochs'"),
    "no YAML": (lambda root: edit(root, "epochs: 3}", "epochs: "), r"recipes/base.yaml:\d+:\d+: "),
    "a wrong default": (lambda root: edit(root, "device: auto", "device: 7", "params.yaml"), r"params.yaml:4:\d+: "),
    "no stage of that name": (
        lambda root: edit(root, "  train: {epochs: 3}\n  export: {opset: 18}\n", "  import: {path: m.onnx}\n"),
        r"recipes/base.yaml|no longer has 'base/train'",
    ),
    "another model": (
        lambda root: edit(root, "models.net:Net", "models.layers:Block"),
        "no longer matches 'base/train'",
    ),
    "defaults dropped": (lambda root: edit(root, "  train: {seed: 0, device: auto}\n", "", "params.yaml"), "no longer"),
}


@pytest.mark.parametrize("case", OWN)
def test_what_a_stage_would_be_recorded_wrongly_by_stops_it_alone(planned, case):
    root, ours = planned
    change, said = OWN[case]
    change(root)
    assert not ours.is_as_before(TRAIN)
    for _ in range(2):
        with pytest.raises((RecastError, RecipeError), match=said):
            ours.is_as_before(TRAIN)
    ours.is_as_before(SUMMARY), ours.is_as_before(GUARD)
    assert ours.is_as_before(SUMMARY) and ours.is_as_before(GUARD)


def test_installed_code_that_was_upgraded_since_stops_a_stage_that_is_planned_again(planned):
    root, runner = planned
    before = replace(runner.plan.stages["base/train"], digests={"stages.train": "of before"})
    plan = replace(runner.plan, stages={**runner.plan.stages, "base/train": before})
    ours = PlanRunner(root, plan, sources_stamp(root))
    edit(root, "epochs: 3", "epochs: 42")
    assert not ours.is_as_before(TRAIN)
    with pytest.raises(RecastError, match=r"the installed code of 'base/train' was changed meanwhile; run"):
        ours.is_as_before(TRAIN)


def test_a_recipe_that_is_gone_stops_its_own_stages(planned):
    root, ours = planned
    (root / "recipes/base.yaml").unlink()
    ours.is_as_before(TRAIN)
    with pytest.raises(RecastError, match=r"no recipe|no longer has|recipes/base.yaml"):
        ours.is_as_before(TRAIN)


def test_one_edit_is_planned_once_and_only_where_it_concerns_a_stage(planned, monkeypatch):
    root, ours = planned
    planned_again: list[object] = []

    class Counted(stage_runner.Resolver):
        def add(self, names: object) -> None:
            planned_again.append(names)
            super().add(names)

    monkeypatch.setattr(stage_runner, "Resolver", Counted)
    assert ours.is_as_before(TRAIN) and ours.is_as_before(EXPORT) and not planned_again
    edit(root, "opset: 18", "opset: 17")
    for _ in range(3):
        ours.is_as_before(TRAIN)
    assert not planned_again
    for _ in range(3):
        ours.is_as_before(EXPORT)
    assert planned_again == [["base"]] and ours.planned(EXPORT).params["opset"] == 17
    edit(root, "epochs: 3", "epochs: 4")
    for _ in range(3):
        ours.is_as_before(TRAIN), ours.is_as_before(EXPORT)
    assert planned_again == [["base"]] * 2 and ours.planned(TRAIN).params["epochs"] == 4


def test_a_recipe_is_read_once_it_is_written(planned, monkeypatch):
    """An editor that empties the file and then writes it is not caught in between."""
    root, ours = planned
    path = root / "recipes/base.yaml"
    text = path.read_text()
    monkeypatch.setattr(
        stage_runner.time, "sleep", lambda seconds: path.write_text(text.replace("epochs: 3", "epochs: 4"))
    )
    path.write_text("")
    ours.is_as_before(TRAIN)
    assert ours.is_as_before(TRAIN) and ours.planned(TRAIN).params["epochs"] == 4


# -- the guard


def test_the_guard_is_recorded_if_dvc_yaml_matches_the_recipes(planned):
    root, ours = planned
    ours.run(GUARD, [], lambda event: None)
    assert ours.records(GUARD) and (root / dvcfile.GUARD_PASS).read_text() == dvcfile.GUARD_TEXT


@pytest.mark.parametrize(
    ("text", "recorded"), [(OTHER.replace("0.5", "0.25"), True), (f"{OTHER}targets: {{akida: false}}\n", False)]
)
def test_a_guard_that_is_let_through_for_this_run_alone_is_not_recorded(planned, text, recorded):
    root, ours = planned
    (root / "recipes/other.yaml").write_text(text)
    ours.run(GUARD, [], lambda event: None)
    assert ours.records(GUARD) is recorded
    assert (root / dvcfile.GUARD_PASS).read_text() == dvcfile.GUARD_TEXT
    assert ours.records(TRAIN)
