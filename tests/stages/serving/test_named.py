# environment: serve
"""What scores mean: classes and probabilities, as the task of the model has them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recast.stages.serving.named import MOST, named


def model(task: str, *classes: str) -> dict[str, object]:
    return {"task": {"name": task}, "classes": classes}


def test_scores_of_a_classifier_become_probabilities_that_add_up_to_one():
    (found,) = named(model("classification", "a", "b", "c"), np.float32([[0, 1, 2]]))
    powers = [math.exp(score) for score in (2, 1, 0)]
    assert [one["class"] for one in found] == ["c", "b", "a"]
    assert [one["probability"] for one in found] == pytest.approx([power / sum(powers) for power in powers], abs=1e-6)


def test_probabilities_that_the_model_gives_itself_stay_as_they_are():
    (found,) = named(model("classification", "a", "b"), np.float32([[0.25, 0.75]]))
    assert found == [{"class": "b", "probability": 0.75}, {"class": "a", "probability": 0.25}]


def test_large_scores_neither_overflow_nor_warn(recwarn):
    rows = named(model("classification", "a", "b"), np.float32([[3e38, -3e38], [-1e4, 1e4]]))
    assert [row[0]["probability"] for row in rows] == [1.0, 1.0] and [row[0]["class"] for row in rows] == ["a", "b"]
    assert named(model("binary", "no", "yes"), np.float32([[1e5], [-1e5]]))[1][0]["class"] == "no"
    assert not recwarn.list


def test_labels_and_a_binary_logit_have_probabilities_of_their_own():
    (found,) = named(model("multilabel", "a", "b"), np.float32([[0, 100]]))
    assert found == [{"class": "b", "probability": 1.0}, {"class": "a", "probability": 0.5}]
    (found,) = named(model("binary", "no", "yes"), np.float32([[0]]))
    assert found == [{"class": "no", "probability": 0.5}, {"class": "yes", "probability": 0.5}]


def test_only_the_likeliest_are_named_and_an_output_without_a_class_by_its_number():
    (found,) = named(model("classification", "a"), np.eye(20, dtype=np.float32)[[7]] * 9)
    assert len(found) == MOST and found[0]["class"] == "7"


@pytest.mark.parametrize(
    ("task", "shape"),
    [("regression", (2, 1)), ("segmentation", (1, 3, 4, 4)), ("somebodys.own", (2, 3)), ("binary", (1, 2))],
)
def test_what_has_no_classes_has_no_names(task, shape):
    assert named(model(task, "a", "b", "c"), np.zeros(shape, np.float32)) is None
