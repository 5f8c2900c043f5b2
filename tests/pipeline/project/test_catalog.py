"""`recast list`: recipes and targets, broken recipes too."""

from __future__ import annotations

import json

from recast.pipeline.project.catalog import as_json, as_text, catalog
from recast.pipeline.recipes.recipe import Recipes
from tests.lib.repository import ROOT, Write


def test_recipes_and_targets_are_listed(write: Write) -> None:
    root = write({"recipes/more.yaml": "extends: base\ntargets: {akida: false}\n", "recipes/torn.yaml": "modle: x\n"})
    listed = catalog(root)
    assert [(one.name, one.extends, one.targets, bool(one.problems)) for one in listed.recipes] == [
        ("base", None, ("akida", "onnxruntime"), False),
        ("more", "base", ("onnxruntime",), False),
        ("torn", None, (), True),
    ]
    targets = {one.name: one for one in listed.targets}
    assert targets["akida"].own and not targets["wasm"].own
    text = as_text(listed)
    assert "onnxruntime   (extends base)" in text and "broken; 'recast check torn' says how" in text
    assert json.loads(as_json(listed))["recipes"][1]["targets"] == ["onnxruntime"]


def test_every_target_of_ours_says_what_it_is() -> None:
    listed = catalog(ROOT)
    assert {one.name for one in listed.targets} == set(Recipes(ROOT).known_targets())
    assert all(len(one.about) > 20 and not one.own for one in listed.targets)
