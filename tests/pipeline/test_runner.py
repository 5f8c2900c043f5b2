"""A stage runs with what the recipes say at the moment its inputs are hashed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline import dvcfile
from pipeline.errors import RecastError, RecipeError
from pipeline.plan import make_plan
from pipeline.runner import PlanRunner, sources_stamp

TRAIN = SimpleNamespace(name="base-train")


@pytest.fixture
def planned(write):
    """A repository with its plan, and the stamp of its recipes from before that was made."""
    root = write({})
    stamp = sources_stamp(root)
    plan = make_plan(root)
    dvcfile.write(root, plan)
    return root, plan, stamp


def edit(root, old, new):
    path = root / "recipes/base.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_value_edited_between_plan_and_run_is_planned_again(planned):
    root, plan, stamp = planned
    edit(root, "epochs: 3", "epochs: 42")
    with PlanRunner(root, plan, stamp) as runner:
        assert not runner.settle(TRAIN)
        assert runner.plan.stages["base/train"].params["epochs"] == 42
        assert runner.settle(TRAIN)


def test_a_structural_edit_stops_the_stage(planned):
    root, plan, stamp = planned
    edit(root, "  onnxruntime: {}\n", "")
    with PlanRunner(root, plan, stamp) as runner, pytest.raises(RecastError, match="changed while they ran"):
        runner.settle(TRAIN)


def test_another_recipe_that_is_half_edited_meanwhile_stops_nothing_but_its_own_stages(write):
    root = write({"recipes/other.yaml": "extends: base\nstages:\n  train: {lr: 0.5}\n"})
    stamp, plan = sources_stamp(root), make_plan(root)
    dvcfile.write(root, plan)
    (root / "recipes/other.yaml").write_text("extends: base\nstages:\n  train: {lr: \n")
    with PlanRunner(root, plan, stamp) as runner:
        assert not runner.settle(TRAIN)
        assert runner.settle(TRAIN)
        for name in ("other-train", "other"):
            with pytest.raises(RecipeError, match=r"recipes/other.yaml:\d:\d+: "):
                runner.settle(SimpleNamespace(name=name))
        # a thread that was about to run it when the others were planned again finds it still
        assert runner.task(SimpleNamespace(name="other-train")).title == "other/train"
