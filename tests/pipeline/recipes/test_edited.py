"""A recipe's text with other values: what is not changed stays as it is."""

from __future__ import annotations

import difflib

import pytest
from dvc.utils.serialize import dumps_yaml

from recast.pipeline.core.errors import RecastError
from recast.pipeline.recipes.edited import with_values
from tests.lib.copied import ROOT

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def _changed(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_only_the_lines_that_say_otherwise_differ(path) -> None:
    text = path.read_text(encoding="utf-8")
    edited = with_values(text, "another", {"quantize": {"scheme": "int8"}})
    assert _changed(text, edited) == ["+  another:", "+    quantize:", "+      scheme: int8"]


def test_comments_stay_and_a_value_is_replaced_in_its_place() -> None:
    text = "# why\ntargets:  # these\n  c: {quantize: {scheme: int8}}  # small\n"
    edited = with_values(text, "c", {"quantize": {"scheme": "float32", "nodes_to_exclude": ["a", "b/c"]}})
    assert edited == (
        "# why\ntargets:  # these\n  c: {quantize: {scheme: float32, nodes_to_exclude: [a, b/c]}} # small\n"
    )


def test_what_is_inherited_is_written_into_the_recipe_in_its_own_indentation() -> None:
    text = "extends: base\nstages:\n    train: {epochs: 2}\n"
    edited = with_values(text, "c", {"verify": {"min_agreement": None}})
    assert edited == f"{text}targets:\n    c:\n        verify:\n            min_agreement: null\n"


def test_nothing_is_read_into_a_name_that_yaml_has_a_meaning_for() -> None:
    edited = with_values("targets: {c: {}}\n", "c", {"quantize": {"nodes_to_exclude": ["on", "1", "a: b", "x, y"]}})
    from ruamel.yaml import YAML

    read = YAML(typ="safe").load(edited)
    assert read["targets"]["c"]["quantize"]["nodes_to_exclude"] == ["on", "1", "a: b", "x, y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("targets: {c: &same {}, wasm: *same}\n", "anchor"),
        ("targets: {c: false}\n", "'c' is no mapping"),
        ("targets: [c]\n", "'targets' is no mapping"),
    ],
)
def test_a_place_that_is_no_mapping_is_refused(text: str, message: str) -> None:
    with pytest.raises(RecastError, match=message):
        with_values(text, "c", {"quantize": {"scheme": "int8"}})


def test_what_others_write_stays_as_it_was() -> None:
    assert "null" in with_values("targets: {t: {s: {a: ~}}}\n", "t", {"s": {"b": None}})
    assert "null" not in dumps_yaml({"a": [None, 1]})  # as DVC writes dvc.lock
