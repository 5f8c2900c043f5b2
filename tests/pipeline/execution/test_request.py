"""What a request means in names of dvc.yaml."""

from __future__ import annotations

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.execution.request import Request, dvc_names, needed
from recast.pipeline.planning.make_plan import make_plan

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
        (Request(("base",), targets=("akida",)), ["base-akida-verify"]),
        # a stage that another recipe shares is that recipe's
        (Request(("other",), stages=("train",)), ["base-train"]),
        (Request(("third",), stages=("akida/emit",)), ["third-akida-emit"]),
        (Request(("third",), targets=("akida",), stages=("emit",)), ["third-akida-emit"]),
        (Request(("third",), targets=("akida",), stages=("train",)), ["third-train"]),
        (Request(("third",), stages=("third/akida/emit",)), ["third-akida-emit"]),
        # each name once, however it was asked for
        (
            Request(("base",), targets=("akida", "onnxruntime", "akida")),
            ["base-akida-verify", "base-onnxruntime-verify"],
        ),
        (Request(("base",), targets=("onnxruntime", "akida"), stages=("train",)), ["base-train"]),
        (
            Request(("third",), targets=("akida", "onnxruntime"), stages=("emit",)),
            ["third-akida-emit", "third-onnxruntime-emit"],
        ),
        (Request(("base",), stages=("train", "akida/emit", "train")), ["base-train", "base-akida-emit"]),
        (
            Request(("base",), targets=("akida",), stages=("emit", "akida/quantize")),
            ["base-akida-emit", "base-akida-quantize"],
        ),
        # of all recipes those that have it: here one has both targets and one has the first only
        (
            Request(("third", "other"), targets=("akida", "onnxruntime")),
            ["third-akida-verify", "base-akida-verify", "third-onnxruntime-verify"],
        ),
        # of all recipes those that have it
        (Request(stages=("onnxruntime/emit",)), ["base-onnxruntime-emit", "third-onnxruntime-emit"]),
    ],
)
def test_what_is_asked_for(plan, request_, names):
    assert dvc_names(plan, request_) == names


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(("bsae",)), "no recipe named 'bsae' in recipes/; did you mean 'base'"),
        (Request(("base",), targets=("akita",)), "no target named 'akita' in base; did you mean 'akida'"),
        (Request(("base",), stages=("trian",)), "has no stage 'trian'; did you mean 'train'"),
        (Request(("base",), stages=("akida/emti",)), "has no stage 'emti'; did you mean 'emit'"),
        (Request(("base",), targets=("akida",), stages=("emti",)), "has no stage 'emti'; did you mean 'emit'"),
        (
            Request(("base",), targets=("akida",), stages=("onnxruntime/emit",)),
            "is no stage of target 'akida'; drop one of",
        ),
        (Request(("other",), targets=("onnxruntime",)), "no target named 'onnxruntime' in other"),
        # one that is there does not make up for one that is not
        (Request(("other",), targets=("akida", "onnxruntime")), "no target named 'onnxruntime' in other"),
        (
            Request(("base",), targets=("akida", "onnxrt")),
            "no target named 'onnxrt' in base; did you mean 'onnxruntime'",
        ),
        (Request(("base",), stages=("train", "trian")), "has no stage 'trian'; did you mean 'train'"),
        (
            Request(("base",), targets=("akida", "onnxrt"), stages=("emit",)),
            "no target 'onnxrt'; did you mean 'onnxruntime'",
        ),
        (
            Request(("base",), targets=("akida", "onnxruntime"), stages=("akida/emit",)),
            "is no stage of target 'onnxruntime'; drop one of",
        ),
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
