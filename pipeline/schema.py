"""The JSON schema of a recipe, from the stages' params, so that editors complete and check.

Each stage is described once, under `definitions`, and referred to from wherever a recipe may say something about it. A
reference has nothing beside it: whoever reads draft 7 ignores that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    definitions: dict[str, Any] = {}
    trunk = {name: _stage(name, definitions) for name in TRUNK}
    targets: dict[str, Any] = {}
    for name in recipes.known_targets():
        if target := recipes.target(name):
            own = {stage: _stage(uses, definitions) for stage, uses in target.uses.items()}
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
                "anyOf": [{"type": "string", "pattern": "^[\\w.]+:\\w+$"}, ModelReference.model_json_schema()],
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
        "definitions": definitions,
    }


def render_schema(root: Path) -> str:
    """The schema as text, the same for the same stages."""
    return json.dumps(recipe_schema(root), indent=2) + "\n"


def _stage(name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """A reference to the description of a stage, which is added to the definitions if it is not among them yet."""
    if name not in definitions:
        schema = load(name).params.model_json_schema()
        inner = schema.pop("$defs", {})
        schema["properties"].pop("model", None)
        schema.pop("required", None)  # a base recipe or params.yaml may say it
        schema.pop("title", None)
        schema["type"] = ["object", "null"]
        definitions[name] = _referring(schema, name, inner, definitions)
    return _reference(name)


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/definitions/{name}"}


def _referring(node: Any, stage: str, inner: Mapping[str, Any], definitions: dict[str, Any]) -> Any:
    """The schema with references to the definitions in place of those to `inner` and what stands beside these.

    A definition that is new bears the name of the stage, which is the first to need it.
    """
    if isinstance(node, list):
        return [_referring(item, stage, inner, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _referring(value, stage, inner, definitions) for key, value in node.items() if key != "$ref"}
    if "$ref" not in node:
        return found
    title = node["$ref"].rpartition("/")[2]
    merged = {**_referring(inner[title], stage, inner, definitions), **found}
    text = json.dumps(merged)  # to Python 1 and true are the same
    known = {json.dumps(definition): name for name, definition in definitions.items()}
    name = known.get(text, f"{stage}.{title}")
    if json.dumps(definitions.setdefault(name, merged)) != text:
        return merged  # of two params of one type the stage says different things
    return _reference(name)
