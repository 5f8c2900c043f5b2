"""The JSON schema of a recipe, from the stages' params, so that editors complete and check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import RecipeError
from pipeline.layout import RECIPES
from pipeline.recipe import Recipes
from stages.base import ModelReference
from stages.registry import TRUNK, load

SCHEMA = f"{RECIPES}/schema.json"


def recipe_schema(root: Path) -> dict[str, Any]:
    """The schema of `recipes/*.yaml` for the stages and targets that exist here. Raises RecipeError."""
    recipes = Recipes(root)
    trunk = {name: _stage(name) for name in TRUNK}
    targets: dict[str, Any] = {}
    for name in recipes.known_targets():
        if target := recipes.target(name):
            own = {stage: _stage(uses) for stage, uses in target.uses.items()}
            stages = {"type": ["object", "null"], "properties": {**own, **trunk}, "additionalProperties": False}
            targets[name] = {
                "description": f"Overrides recipes/targets/{name}.yaml; false drops an inherited target.",
                "anyOf": [stages, {"const": False}],
            }
    if recipes.problems:
        raise RecipeError(recipes.problems)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Recast recipe",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "extends": {"type": "string", "description": "The recipe this one inherits from, by reference."},
            "isolated": {
                "type": "boolean",
                "default": False,
                "description": "Start every stage's process from nothing, not from one that has its packages imported.",
            },
            "model": {
                "description": "The nn.Module to train: module:Class, or with its constructor's arguments.",
                "anyOf": [{"type": "string", "pattern": "^[\\w.]+:\\w+$"}, _inline(ModelReference.model_json_schema())],
            },
            "stages": {
                "description": "The trunk, which every target shares.",
                "type": ["object", "null"],
                "properties": trunk,
                "additionalProperties": False,
            },
            "targets": {
                "description": "What the model is recast for.",
                "type": ["object", "null"],
                "properties": targets,
                "additionalProperties": False,
            },
        },
    }


def render_schema(root: Path) -> str:
    """The schema as text, the same for the same stages."""
    return json.dumps(recipe_schema(root), indent=2) + "\n"


def _stage(name: str) -> dict[str, Any]:
    schema = _inline(load(name).params.model_json_schema())
    schema["properties"].pop("model", None)
    schema.pop("required", None)  # a base recipe or params.yaml may say it
    schema.pop("title", None)
    schema["type"] = ["object", "null"]
    return schema


def _inline(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with every reference to its own definitions replaced by the definition."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        reference = node.get("$ref")
        if reference:
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return {**resolve(definitions[reference.rpartition("/")[2]]), **resolve(rest)}
        return {key: resolve(value) for key, value in node.items()}

    resolved: dict[str, Any] = resolve(schema)
    return resolved
