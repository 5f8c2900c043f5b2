"""What is known of results, and what is not claimed of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recast.pipeline.dvc.explain_report import Explanation, Reason, Verdict
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.plan import Plan
from recast.pipeline.processes.stage_call import TIMINGS
from recast.pipeline.reporting.facts import RecipeFacts, State, TargetFacts, gather
from tests.lib.repository import Write

METRICS = {
    "metric": "accuracy",
    "is_share": True,
    "accuracy_float": 0.99,
    "accuracy_emitted": 0.98,
    "agreement": 0.985,
    "cycles": 1200,
    "cpu": "x86-64",
}
VERIFY = "artifacts/base/akida/verify"


@pytest.fixture
def place(write: Write) -> Path:
    root = write({})
    put(root, f"{VERIFY}/metrics.json", METRICS)
    put(root, "artifacts/base/akida/emit/metrics.json", {"layers_in_hardware": 5, "size_bytes": 9})
    (root / "artifacts/base/akida/emit/model.fbz").write_bytes(bytes(9))
    return root


def put(root: Path, name: str, content: Any) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def explained(plan: Plan, **verdicts: Verdict) -> dict[str, Explanation]:
    """Every stage up to date, but for those of the target akida that are named."""
    found = {id: Explanation(id, Verdict.UP_TO_DATE, (), "") for id in plan.stages}
    for name, verdict in verdicts.items():
        id = f"base/akida/{name}"
        found[id] = Explanation(id, verdict, (Reason("param", "x", "x was 1, is 2"),), "")
    return found


def facts(root: Path, asked: bool = True, **verdicts: Verdict) -> RecipeFacts:
    plan = make_plan(root)
    (found,) = gather(root, plan, ["base"], explained(plan, **verdicts) if asked else None)
    return found


def akida(root: Path, asked: bool = True, **verdicts: Verdict) -> TargetFacts:
    return next(target for target in facts(root, asked, **verdicts).targets if target.name == "akida")


def test_a_result_is_verified_only_if_dvc_finds_it_up_to_date(place: Path) -> None:
    assert akida(place).is_verified and akida(place).state is State.DONE
    for verdict in (Verdict.RUN, Verdict.FOLLOWS, Verdict.RESTORED):
        found = akida(place, verify=verdict)
        assert (found.state, found.is_verified) == (State.STALE, False), verdict
    unasked = akida(place, asked=False)
    assert (unasked.state, unasked.is_verified) == (State.UNKNOWN, False)


def test_what_never_ran_is_said_to_be_not_run(place: Path) -> None:
    plan = make_plan(place)
    found = explained(plan)
    found["base/onnxruntime/verify"] = Explanation("base/onnxruntime/verify", Verdict.RUN, (), "")
    (recipe,) = gather(place, plan, ["base"], found)
    other = next(target for target in recipe.targets if target.name == "onnxruntime")
    assert (other.state, other.metrics, other.artifact, other.latency) == (State.NOT_RUN, {}, None, {})


def test_a_failed_stage_is_the_targets_state_with_what_it_said(place: Path) -> None:
    put(place, ".recast/logs/base-akida-emit/1.log", "[error] an old one\n")
    put(place, ".recast/logs/base-akida-emit/2.log", "noise\n[error] a layer cannot run in hardware\n")
    found = akida(place, emit=Verdict.RUN, verify=Verdict.FOLLOWS)
    assert (found.state, found.error, found.is_verified) == (State.FAILED, "a layer cannot run in hardware", False)
    # it was put right since, by a result from the cache
    assert akida(place).error == ""
    put(place, ".recast/logs/base-akida-emit/3.log", "all is well\n")
    assert akida(place, emit=Verdict.RUN).error == ""


def test_latency_and_time_are_shown_only_of_the_result_that_is_there(place: Path) -> None:
    import hashlib

    of = hashlib.sha256((place / VERIFY / "metrics.json").read_bytes()).hexdigest()
    put(place, f"{TIMINGS}/base-akida-verify.json", {"seconds": 2.5, "of": of, "latency": {"median": 0.001}})
    assert akida(place).latency == {"median": 0.001}
    assert facts(place).stage("base/akida/verify").seconds == 2.5
    put(place, f"{VERIFY}/metrics.json", {**METRICS, "agreement": 1.0})
    assert akida(place).latency == {}
    assert facts(place).stage("base/akida/verify").seconds is None


def test_figures_in_the_targets_own_units_are_apart_from_those_that_all_have(place: Path) -> None:
    found = akida(place)
    assert found.figures == {"emit.layers_in_hardware": 5, "verify.cycles": 1200}
    assert (found.metric, found.size, found.artifact) == ("accuracy", 9, "artifacts/base/akida/emit/model.fbz")
    assert [(limit.name, limit.met) for limit in found.limits] == [("min_agreement", True)]


def test_every_value_says_where_it_is_written(place: Path) -> None:
    values = {value.name: value for value in facts(place).stage("base/train").values}
    assert (values["epochs"].value, values["epochs"].file) == (3, "recipes/base.yaml")
    assert (place / "recipes/base.yaml").read_text().splitlines()[values["epochs"].line - 1].strip() == (
        "train: {epochs: 3}"
    )
    assert (values["seed"].file, values["lr"].file, values["lr"].line) == ("params.yaml", "", None)
    assert (values["model"].value["name"], values["model"].file, values["model"].line) == (
        "models.net:Net",
        "recipes/base.yaml",
        1,
    )


def test_the_last_word_wins_and_a_shared_stage_names_the_recipe_it_is_of(write: Write) -> None:
    root = write({"recipes/more.yaml": "extends: base\nstages:\n  train: {epochs: 5, seed: 7}\n"})
    (found,) = gather(root, make_plan(root), ["more"], None)
    values = {value.name: value for value in found.stage("more/train").values}
    assert (values["epochs"].value, values["epochs"].file, values["epochs"].line) == (5, "recipes/more.yaml", 3)
    assert (values["seed"].value, values["seed"].file) == (7, "recipes/more.yaml")
    assert values["device"].file == "params.yaml"
    assert "base/data" in {stage.id for stage in found.stages}
