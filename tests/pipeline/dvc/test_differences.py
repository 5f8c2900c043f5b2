"""Values compared leaf by leaf, and shown so that a reader sees the difference."""

from __future__ import annotations

import pytest

from recast.pipeline.dvc.differences import differences, leaves


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"lr": 0.1}, {"lr": 0.2}, ["train.lr was 0.1, is 0.2"]),
        ({"lr": 1}, {"lr": "1"}, ['train.lr was 1, is "1"']),
        ({}, {"lr": 0.1, "adam": {"eps": 1e-8}}, ["train.lr is new: 0.1", "train.adam.eps is new: 1e-08"]),
        ({"lr": 0.1, "x": 1}, {"lr": 0.1}, ["train.x is gone, was 1"]),
        ({"adam": {"eps": 1}}, {"adam": None}, ['train.adam was {"eps": 1}, is null']),
        ({"on": None}, {"on": False}, ["train.on was null, is false"]),
        ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": 3, "d": 2}, "a": 1}, ["train.b.c was 1, is 3"]),
        ({"empty": {}}, {}, ["train.empty is gone, was {}"]),
        ({"sizes": [1, 2]}, {"sizes": [1, 3]}, ["train.sizes was [1, 2], is [1, 3]"]),
        ({"sizes": [1, 2]}, {"sizes": (1, 2)}, []),
        ({"name": "café"}, {"name": "thé"}, ['train.name was "café", is "thé"']),
    ],
)
def test_leaves_that_differ_are_named_with_both_values(before, after, said):
    assert [str(found) for found in differences("train", before, after)] == said


def test_long_values_are_shortened_to_where_they_differ():
    before = list(range(300))
    after = [*range(280), -1, *range(281, 300)]
    (found,) = differences("sizes", before, after)
    assert str(found) == (
        "sizes was …278, 279, 280, 281, 282, 283, 284, 285, 286, 287, 288, 289, 290, 291, 292, 293, … (300 values),"
        " is …278, 279, -1, 281, 282, 283, 284, 285, 286, 287, 288, 289, 290, 291, 292, 293, 2… (300 values)"
    )


def test_a_long_value_that_is_new_is_shortened_and_counted():
    (found,) = differences("text", {"text": "x" * 90}, {"text": "y" * 90})
    assert str(found) == f'text.text was "{"x" * 79}… (90 characters), is "{"y" * 79}… (90 characters)'
    (found,) = differences("sizes", {}, {"a": list(range(100))})
    shown = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 2…"
    assert str(found) == f"sizes.a is new: {shown} (100 values)"


def test_a_longer_list_that_begins_alike_looks_different():
    (found,) = differences("sizes", list(range(300)), list(range(301)))
    was, now = str(found).split(", is ")
    assert was.endswith("298, 299] (300 values)") and now.endswith("299, 300] (301 values)")


def test_leaves_are_counted_through_mappings():
    assert leaves({"a": 1, "b": {"c": [1, 2], "d": None}, "e": {}}) == 3
