"""Limits beside what was measured."""

from __future__ import annotations

import pytest

from recast.pipeline.reporting.limits import Limit, limits

METRICS = {"accuracy_float": 0.99, "accuracy_emitted": 0.9, "agreement": 0.97, "max_abs_error": 0.5, "mae_float": 1.0,
           "mae_emitted": 1.25}  # fmt: skip


def test_each_kind_of_limit_is_held_against_its_metric() -> None:
    params = {
        "min_accuracy": 0.95,
        "max_accuracy_drop": 0.1,
        "min_agreement": 0.95,
        "max_abs_error": 0.4,
        "max_mae": None,
        "limits": {"max_mae_rise": 0.2, "min_iou": 0.5},
        "samples": 10,
        "task": {"name": "classification"},
    }
    found = {limit.name: limit for limit in limits(params, METRICS)}
    expected = {
        "min_accuracy": (0.9, False, -0.05),
        "max_accuracy_drop": (0.09, True, 0.01),
        "min_agreement": (0.97, True, 0.02),
        "max_abs_error": (0.5, False, -0.1),
        "max_mae_rise": (0.25, False, -0.05),
    }
    for name, (value, met, margin) in expected.items():
        assert found[name].met is met, name
        assert (found[name].value, found[name].margin) == (pytest.approx(value), pytest.approx(margin)), name
    assert found.keys() - expected.keys() == {"min_iou"}
    assert found["min_iou"] == Limit("min_iou", 0.5, None, None, None)


def test_a_limit_that_is_just_met_is_met_in_spite_of_rounding() -> None:
    metrics = {"accuracy_float": 0.3, "accuracy_emitted": 0.1}
    (found,) = limits({"max_accuracy_drop": 0.2}, metrics)
    assert found.met is True


def test_nothing_measured_is_neither_met_nor_missed() -> None:
    assert limits({"min_agreement": 0.95}, {}) == (Limit("min_agreement", 0.95, None, None, None),)
