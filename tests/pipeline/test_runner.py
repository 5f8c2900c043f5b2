"""A stage runs with what the recipes say at the moment its inputs are hashed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline import dvcfile
from pipeline.errors import RecastError
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
