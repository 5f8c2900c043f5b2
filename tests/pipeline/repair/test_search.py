"""Which candidates a search runs, in which order, and which it takes; no model is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.repair import limits
from recast.pipeline.repair.candidate import Run, Stopped
from recast.pipeline.repair.front import front
from recast.pipeline.repair.search import Candidate, Found, search
from recast.stages.repair import Choice, Figure, Limit, Offer, Setting, Values

DROP = Limit(name="max_accuracy_drop", metric="accuracy", how="drop", limit=0.005)


def _measured(accuracy: float, **more: Any) -> dict[str, Any]:
    return {
        "metric": "accuracy",
        "accuracy_float": 0.9,
        "accuracy_emitted": accuracy,
        "agreement": 0.9,
        "sqnr_db": 20.0,
        **more,
    }


def _searched(offer: Offer, accuracy: Callable[[Values], float | str]) -> Found:
    found = Found()

    def evaluate(says: tuple[str, ...], values: Values) -> Run:
        reached = accuracy(values)
        if isinstance(reached, str):
            return Run(says, values, refused=reached)
        return Run(says, values, metrics=_measured(reached))

    search(found, evaluate, lambda run: limits.distance((DROP,), run.metrics), lambda values: offer, lambda one: None)
    return found


def _ladder(rungs: int) -> tuple[Choice, ...]:
    return tuple(Choice(says=f"{n} in float", values={"quantize": {"float": n}}) for n in range(1, rungs + 1))


METHOD = Setting(
    name="ranges",
    choices=(
        Choice(says="entropy", values={"calibrate": {"method": "entropy"}}),
        Choice(says="percentile", values={"calibrate": {"method": "percentile"}}),
    ),
)


def test_a_recipe_that_meets_its_limits_is_run_once_and_left_alone() -> None:
    found = _searched(Offer(settings=(METHOD,), ladder=_ladder(4)), lambda values: 0.9)
    assert [one.run.values for one in found.tried] == [{}]
    assert found.chosen is found.tried[0]


def test_a_setting_that_is_enough_ends_the_search_before_the_ladder() -> None:
    found = _searched(
        Offer(settings=(METHOD,), ladder=_ladder(4)),
        lambda values: 0.9 if values.get("calibrate", {}).get("method") == "percentile" else 0.8,
    )
    assert [one.rungs for one in found.tried] == [0, 0, 0]
    assert found.chosen is not None
    assert found.chosen.run.values == {"calibrate": {"method": "percentile"}}


TOGETHER = Setting(
    name="together", choices=(Choice(says="all", values={"quantize": {"all": True}}),), covers=("ranges",)
)


@pytest.mark.parametrize(("helps", "tried"), [(True, 2), (False, 4)])
def test_what_is_taken_together_is_not_tried_one_by_one(helps: bool, tried: int) -> None:
    found = _searched(
        Offer(settings=(TOGETHER, METHOD)), lambda values: 0.85 if helps and values.get("quantize") else 0.8
    )
    assert len(found.tried) == tried
    assert found.best is not None
    assert found.best.run.values == ({"quantize": {"all": True}} if helps else {})


def test_a_setting_that_helps_is_kept_on_the_ladder_and_one_that_hardly_does_is_not() -> None:
    def accuracy(values: Values) -> float:
        method = {"entropy": 0.05, "percentile": 0.051}.get(values.get("calibrate", {}).get("method", ""), 0.0)
        return 0.8 + method + 0.01 * values.get("quantize", {}).get("float", 0)

    found = _searched(Offer(settings=(METHOD,), ladder=_ladder(10)), accuracy)
    assert found.chosen is not None
    assert found.chosen.run.values == {"calibrate": {"method": "entropy"}, "quantize": {"float": 5}}


@pytest.mark.parametrize("needed", range(1, 21))
def test_the_lowest_rung_that_is_enough_is_found_in_few_runs(needed: int) -> None:
    found = _searched(
        Offer(ladder=_ladder(20)), lambda values: 0.9 if values.get("quantize", {}).get("float", 0) >= needed else 0.8
    )
    assert found.chosen is not None
    assert found.chosen.rungs == needed
    assert len(found.tried) <= 1 + 2 * 5
    assert len({one.rungs for one in found.tried}) == len(found.tried)


def test_where_nothing_is_enough_the_last_rung_was_run_and_nothing_is_chosen() -> None:
    found = _searched(Offer(ladder=_ladder(5)), lambda values: 0.8)
    assert found.chosen is None
    assert [one.rungs for one in found.tried] == [0, 1, 2, 4, 5]


def test_a_refused_candidate_is_never_taken_and_does_not_end_the_search() -> None:
    found = _searched(
        Offer(settings=(METHOD,), ladder=_ladder(3)),
        lambda values: "refused" if values.get("calibrate", {}).get("method") == "entropy" else 0.89,
    )
    assert [one.run.refused for one in found.tried][:3] == ["", "refused", ""]
    assert found.best is not None
    assert found.best.run.refused == ""


def test_what_was_tried_before_a_stop_is_kept() -> None:
    found = Found()
    runs = iter([0.8, 0.81])

    def evaluate(says: tuple[str, ...], values: Values) -> Run:
        try:
            return Run(says, values, metrics=_measured(next(runs)))
        except StopIteration:
            raise Stopped from None

    with pytest.raises(Stopped):
        search(
            found,
            evaluate,
            lambda run: limits.distance((DROP,), run.metrics),
            lambda values: Offer(settings=(METHOD,)),
            lambda one: None,
        )
    assert len(found.tried) == 2


def test_a_drop_is_looked_at_without_the_last_digits_of_a_difference() -> None:
    measured = {"metric": "accuracy", "accuracy_float": 0.9, "accuracy_emitted": 0.895}
    assert limits.distance((DROP,), measured).missed == ()
    missed = limits.distance((DROP,), {**measured, "accuracy_emitted": 0.89})
    assert missed.missed == ("accuracy drop 0.01 is above max_accuracy_drop 0.005",)


def test_limits_of_the_command_line_go_before_the_recipes() -> None:
    recipe = Limit(name="min_agreement", metric="agreement", how="min", limit=0.95)
    asked = limits.asked(Offer(limits=(recipe, DROP)), _measured(0.9), 0.02, 0.5)
    assert {one.name: one.limit for one in asked} == {"max_accuracy_drop": 0.02, "min_agreement": 0.5}
    lower = limits.asked(Offer(metric_better="lower"), {"metric": "mae"}, 0.1, None)
    assert [(one.name, one.how) for one in lower] == [("max_mae_rise", "rise")]
    with pytest.raises(RecastError, match="nothing can drop"):
        limits.asked(Offer(), {"metric": None}, 0.1, None)


def test_a_metric_that_was_not_measured_is_missed() -> None:
    assert limits.distance((DROP,), {"metric": None}).missed == (
        "accuracy was not measured, and max_accuracy_drop is 0.005",
    )


def test_the_front_holds_what_no_other_beats() -> None:
    figure = Figure(title="int8", stage="quantize", metric="nodes", better="higher")

    def candidate(accuracy: float, size: int, nodes: int, refused: str = "") -> Candidate:
        run = Run((), {}, refused, _measured(accuracy), {"quantize": {"nodes": nodes}}, size)
        return Candidate(run, limits.distance((DROP,), run.metrics))

    tried = [
        candidate(0.8, 100, 9),
        candidate(0.9, 150, 7),
        candidate(0.85, 150, 7),
        candidate(0.95, 90, 9, "refused"),
    ]
    assert front(tried, Offer(figures=(figure,))) == [True, True, False, False]
    # the same but for some bytes, and better in what counts
    tried = [candidate(0.8, 17320, 7), candidate(0.9, 17324, 7)]
    assert front(tried, Offer(figures=(figure,))) == [False, True]
