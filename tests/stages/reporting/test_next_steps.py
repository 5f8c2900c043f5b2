# environment: report
"""What a reader can do next follows from state, limits and agreement of each target."""

from __future__ import annotations

from typing import Any

from recast.stages.reporting.next_steps import steps


def recipe(failed: tuple[str, ...] = (), **targets: dict[str, Any]) -> dict[str, Any]:
    ids = [f"r/{name}/{stage}" for name in targets for stage in ("emit", "verify")]
    return {
        "name": "r",
        "stages": [{"id": id, "state": "failed" if id in failed else "up to date"} for id in ids],
        "targets": [
            {
                "name": name,
                "verifies": f"r/{name}/verify",
                "state": "up to date",
                "verified": given.get("state", "up to date") == "up to date",
                "metrics": {},
                **given,
            }
            for name, given in targets.items()
        ],
    }


def said(given: dict[str, Any]) -> dict[tuple[str, ...], str]:
    return {step.commands: step.why for step in steps(given)}


def test_targets_that_choose_as_the_float_model_does_leave_training_to_gain_by() -> None:
    found = said(recipe(one={"metrics": {"agreement": 1.0}}, other={"metrics": {"agreement": 1}}))
    assert list(found) == [("recast release r/one -o r-one.tar",), ()]
    assert found[()].startswith("one and other chose as the float model does") and "training" in found[()]


def test_one_that_chooses_otherwise_is_to_be_looked_at_by_layer() -> None:
    found = said(recipe(one={"metrics": {"agreement": 0.975}}, a={"metrics": {"agreement": 1}}, b={"metrics": {}}))
    assert "one, a and b met every limit" in found["recast release r/one -o r-one.tar",]
    assert "one chose otherwise than the float model for 2.50\u00a0% " in found["recast blame r/one",]
    assert found[()].startswith("a chose as")


def test_what_fails_comes_first_and_what_is_to_be_run_after_it() -> None:
    given = recipe(
        failed=("r/one/verify", "r/two/emit"),
        three={"state": "stale"},
        one={"state": "failed"},
        two={"state": "failed"},
        four={"state": "not run"},
        five={"state": "not looked at"},
    )
    assert list(said(given)) == [
        ("recast blame r/one", "recast repair r/one"),
        ("recast run r --target two",),
        ("recast run r",),
        ("recast report r",),
    ]
    assert said(given)["recast run r",].startswith("three and four: not of what")


def test_a_recipe_without_targets_has_none() -> None:
    assert list(steps(recipe())) == []
