"""The JSON schema of a recipe, from the stages' params, so that editors complete and check.

Each stage is described once, under `definitions`, and referred to from wherever a recipe may say something about it. A
reference has nothing beside it: whoever reads draft 7 ignores that.

Of plugins it describes those that recast.lock records, since recipes use them: whichever others are installed where it
is written, the same repository has the same schema.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import RecipeError
from recast.pipeline.core.layout import RECIPES, TARGETS
from recast.pipeline.planning import labels
from recast.pipeline.recipes.own_packages import REQUIREMENTS, model_environments
from recast.pipeline.recipes.plugin_record import read_record
from recast.pipeline.recipes.recipe import SAID_AT_THE_TOP, Recipes
from recast.stages.base import ModelReference
from recast.stages.datasets import NamesDataset
from recast.stages.providers import Provider, provider, providers
from recast.stages.registry import TRUNK, load
from recast.stages.tasks import task
from recast.stages.tasks.task import TaskReference

SCHEMA = f"{RECIPES}/schema.json"


def recipe_schema(root: Path) -> dict[str, Any]:
    """The schema of `recipes/*.yaml` for the stages and targets of Recast, the repository and recorded plugins.

    Raises RecipeError.
    """
    recipes = Recipes(root)
    recorded = read_record(root).plugins
    others = [one for one in providers() if not one.is_ours and one.name not in recorded]
    datasets = {name for one in others for name in one.datasets}
    definitions: dict[str, Any] = {}
    trunk = {name: _stage(name, definitions, datasets) for name in TRUNK}
    targets: dict[str, Any] = {}
    for name in recipes.known_targets():
        if _is_of(others, root, name):
            continue
        if target := recipes.target(name):
            own = {stage: _stage(uses, definitions, datasets) for stage, uses in target.uses.items()}
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
            "task": {
                "description": "What the model is for; classification unless said. A mapping gives its options too.",
                "anyOf": [{"enum": list(task.OWN)}, TaskReference.model_json_schema()],
            },
            REQUIREMENTS: {
                "description": "Packages that the model needs besides Recast's; `recast env lock` pins them.",
                "type": ["object", "null"],
                "properties": {
                    name: {"type": "array", "items": {"type": "string"}, "description": f"In the environment {name}."}
                    for name in model_environments()
                },
                "additionalProperties": False,
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
    return json.dumps(recipe_schema(root), indent=1) + "\n"


def _is_of(others: Sequence[Provider], root: Path, target: str) -> bool:
    """Whether the target is one of these, and not the repository's own."""
    return not (root / TARGETS / f"{target}.yaml").exists() and provider(lambda one: one.targets, target) in others


def _stage(name: str, definitions: dict[str, Any], left_out: Container[str]) -> dict[str, Any]:
    """A reference to the description of a stage, which is added to the definitions if it is not among them yet.

    `left_out`: datasets that it does not name.
    """
    if name not in definitions:
        params = load(name).params
        schema = params.model_json_schema()
        schema["$defs"]["Resources"]["properties"][labels.LABELS] = labels.SCHEMA
        for param, info in params.model_fields.items():
            if any(isinstance(mark, NamesDataset) for mark in info.metadata):
                described = schema["properties"][param]
                described["enum"] = [dataset for dataset in described["enum"] if dataset not in left_out]
        inner = schema.pop("$defs", {})
        for key in SAID_AT_THE_TOP:
            schema["properties"].pop(key, None)
        schema.pop("required", None)  # a base recipe or params.yaml may say it
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
    found = {
        key: _referring(value, stage, inner, definitions)
        for key, value in node.items()
        # pydantic's titles only repeat the names
        if key != "$ref" and not (key == "title" and isinstance(value, str))
    }
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
