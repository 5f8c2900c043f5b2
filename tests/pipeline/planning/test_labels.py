"""Labels say where a stage may run, and nothing of what it is run with."""

from __future__ import annotations

import pytest

from recast.pipeline.core.errors import RecipeError
from recast.pipeline.planning.make_plan import make_plan

RECIPE = """\
model: models.net:Net
stages:
  data: {dataset: digits}
  train: {epochs: 3, resources: {cpu: 2, labels: %s}}
targets: {onnxruntime: {}}
"""


def test_a_label_is_the_stages_and_no_param_of_its_process(write):
    stage = make_plan(write({"recipes/base.yaml": RECIPE % "{a100: 2, licence: 0.5}"})).find("base", "train")
    assert stage.labels == {"a100": 2.0, "licence": 0.5}
    assert stage.params["resources"] == {"cpu": 2, "memory": None, "gpu": 0, "isolated": False}
    assert ("recipes/base.yaml", "stages.train") in stage.tracked


def test_the_strongest_file_that_says_resources_says_the_labels(write):
    labelled = "recipes/base.yaml"
    more = "extends: base\nstages: {train: {resources: {cpu: 1}}}\n"
    plan = make_plan(write({labelled: RECIPE % "{a100: 2}", "recipes/more.yaml": more}))
    assert plan.find("more", "train").labels == {} and plan.find("base", "train").labels == {"a100": 2.0}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("{A100: 1}", "'A100' is no name of a label"),
        ("{a100: 0}", "'a100' must be a number above 0"),
        ("{a100: true}", "'a100' must be a number above 0"),
        ("[a100]", "'labels' must be a mapping"),
    ],
)
def test_what_is_no_label_is_refused_where_it_stands(write, labels, said):
    with pytest.raises(RecipeError) as refused:
        make_plan(write({"recipes/base.yaml": RECIPE % labels}))
    (problem,) = refused.value.problems
    assert said in problem.message and problem.line == 4
