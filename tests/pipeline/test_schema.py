"""The JSON schema agrees with what the planner accepts."""

from __future__ import annotations

from pathlib import Path

from pipeline.schema import SCHEMA, recipe_schema, render_schema
from tests.pipeline.conftest import ROOT


def test_every_stage_and_target_is_described():
    schema = recipe_schema(ROOT)
    stages = schema["properties"]["stages"]["properties"]
    assert set(stages) == {"data", "train", "export", "import", "simplify"}
    assert "epochs" in stages["train"]["properties"] and "model" not in stages["train"]["properties"]
    assert stages["train"]["additionalProperties"] is False
    targets = schema["properties"]["targets"]["properties"]
    assert set(targets) == {path.stem for path in (ROOT / "recipes/targets").glob("*.yaml")}
    assert "export" in targets["akida"]["anyOf"][0]["properties"]  # a target may override the trunk


def test_every_param_says_what_it_is():
    schema = recipe_schema(ROOT)
    for stage, described in schema["properties"]["stages"]["properties"].items():
        for name, param in described["properties"].items():
            assert param.get("description"), f"{stage}.{name}"


def test_no_reference_is_left():
    assert "$ref" not in render_schema(ROOT)


def test_the_committed_schema_is_current_and_recipes_point_at_it():
    assert (ROOT / SCHEMA).read_text(encoding="utf-8") == render_schema(ROOT)
    recipes = sorted((ROOT / "recipes").glob("*.yaml"))
    assert recipes
    for path in recipes:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# yaml-language-server: $schema={Path(SCHEMA).name}", path
