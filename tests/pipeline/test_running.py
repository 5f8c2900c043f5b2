"""What a request means in names of dvc.yaml."""

from __future__ import annotations

import pytest

from pipeline.errors import RecastError
from pipeline.plan import make_plan
from pipeline.running import Request, dvc_names, needed

FILES = {
    "recipes/other.yaml": "extends: base\ntargets:\n  onnxruntime: false\n",
    "recipes/third.yaml": "extends: base\nstages:\n  train: {lr: 0.5}\n",
}


@pytest.fixture
def plan(write):
    return make_plan(write(FILES))


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (Request(), ["base", "other", "third"]),
        (Request(("third", "base", "third")), ["third", "base"]),
        (Request(("base",), target="akida"), ["base-akida-verify"]),
        # a stage that another recipe shares is that recipe's
        (Request(("other",), stage="train"), ["base-train"]),
        (Request(("third",), stage="akida/emit"), ["third-akida-emit"]),
        (Request(("third",), target="akida", stage="emit"), ["third-akida-emit"]),
        (Request(("third",), target="akida", stage="train"), ["third-train"]),
        (Request(("third",), stage="third/akida/emit"), ["third-akida-emit"]),
        # of all recipes those that have it
        (Request(stage="onnxruntime/emit"), ["base-onnxruntime-emit", "third-onnxruntime-emit"]),
    ],
)
def test_what_is_asked_for(plan, request_, names):
    assert dvc_names(plan, request_) == names


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(("bsae",)), "no recipe named 'bsae' in recipes/; did you mean 'base'"),
        (Request(("base",), target="akita"), "no target named 'akita' in base; did you mean 'akida'"),
        (Request(("base",), stage="trian"), "has no stage 'trian'; did you mean 'train'"),
        (Request(("base",), stage="akida/emti"), "has no stage 'emti'; did you mean 'emit'"),
        (Request(("base",), target="akida", stage="emti"), "has no stage 'emti'; did you mean 'emit'"),
        (Request(("base",), target="akida", stage="onnxruntime/emit"), "is no stage of target 'akida'; drop one of"),
        (Request(("other",), target="onnxruntime"), "no target named 'onnxruntime' in other"),
    ],
)
def test_what_there_is_not_is_refused(plan, request_, message):
    with pytest.raises(RecastError) as refused:
        dvc_names(plan, request_)
    assert message in str(refused.value)


def test_the_part_of_a_plan_that_is_needed(plan):
    part = needed(plan, ["third"], ["third-akida-emit"])
    assert "third/akida/verify" not in part.stages and "third/akida/calibrate" in part.stages
    assert "base/data" in part.stages and list(part.recipes) == ["third"]
