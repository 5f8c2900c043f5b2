"""The JSON schema agrees with what the planner accepts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pydantic import BaseModel, Field
from ruamel.yaml import YAML

from recast.pipeline.planning import labels
from recast.pipeline.planning.schema import SCHEMA, recipe_schema, render_schema
from recast.pipeline.recipes.recipe import Recipes
from recast.stages.base import Params, Stage
from recast.stages.registry import TRUNK, load
from tests.lib.repository import ROOT


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return recipe_schema(ROOT)


def follow(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or the definition it refers to."""
    while "$ref" in schema:
        place, _, name = schema["$ref"].rpartition("/")
        assert place == "#/definitions", schema["$ref"]
        schema = root["definitions"][name]
    return schema


def references(node: Any) -> list[dict[str, Any]]:
    """Every mapping in the schema that refers to another place in it."""
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = [node] if isinstance(node, dict) and "$ref" in node else []
    return own + [found for child in below for found in references(child)]


def unfolded(node: Any, root: Any) -> Any:
    """The schema without references: each replaced by what it refers to."""
    if isinstance(node, list):
        return [unfolded(item, root) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: unfolded(value, root) for key, value in follow(node, root).items() if key != "definitions"}


def _is_title(key: str, value: Any) -> bool:
    """What pydantic makes of a param's name; a param may be called so too."""
    return key == "title" and isinstance(value, str)


def described(uses: str) -> dict[str, Any]:
    """What the schema must say of a stage, from its params alone, without a reference."""
    params = load(uses).params.model_json_schema()
    inner = params.pop("$defs", {})
    inner["Resources"]["properties"]["labels"] = labels.SCHEMA  # of which no stage is told

    def whole(node: Any) -> Any:
        if isinstance(node, list):
            return [whole(item) for item in node]
        if not isinstance(node, dict):
            return node
        own = {key: whole(value) for key, value in node.items() if key != "$ref" and not _is_title(key, value)}
        return {**whole(inner[node["$ref"].rpartition("/")[2]]), **own} if "$ref" in node else own

    said: dict[str, Any] = whole(params)
    for key in ("model", "task"):
        said["properties"].pop(key, None)
    # params.yaml or a base recipe may say what the recipe leaves out
    return {**{key: value for key, value in said.items() if key != "required"}, "type": ["object", "null"]}


def test_every_stage_and_target_is_described_in_full_wherever_it_may_stand(schema):
    said = unfolded(schema, schema)["properties"]
    assert set(said["stages"]["properties"]) == {"data", "inputs", "train", "export", "import", "simplify"}
    assert said["stages"]["properties"] == {name: described(name) for name in TRUNK}
    assert "epochs" in said["stages"]["properties"]["train"]["properties"]
    assert "model" not in said["stages"]["properties"]["train"]["properties"]
    assert set(said["targets"]["properties"]) == {path.stem for path in (ROOT / "recipes/targets").glob("*.yaml")}
    recipes = Recipes(ROOT)
    for name, target in said["targets"]["properties"].items():
        stages, dropped = target["anyOf"]
        uses = recipes.target(name).uses
        # a target may override the trunk
        assert stages["properties"] == {stage: described(of) for stage, of in {**uses, **{t: t for t in TRUNK}}.items()}
        assert stages["additionalProperties"] is False and dropped == {"const": False}


def test_every_param_says_what_it_is(schema):
    for stage, described in unfolded(schema, schema)["properties"]["stages"]["properties"].items():
        for name, param in described["properties"].items():
            assert param.get("description"), f"{stage}.{name}"


def test_every_reference_stands_alone_and_leads_into_the_schema(schema):
    found = references(schema)
    assert len(found) > 50
    for reference in found:
        # what stands beside a reference is ignored by whoever reads draft 7
        assert list(reference) == ["$ref"] and follow(reference, schema)["type"], reference
    assert schema["definitions"].keys() == {reference["$ref"].rpartition("/")[2] for reference in found}


def test_what_is_shared_stands_there_once(schema):
    text = render_schema(ROOT)
    assert text.count('"passes over the train split, at most"') == 1
    resources = {name for name in schema["definitions"] if name.endswith(".Resources")}
    assert resources == {"data.Resources", "train.Resources"}  # they differ in the default
    assert len(text) < 120_000


class Ends(BaseModel):
    low: int = 0
    high: int = 1


class TwoEnds(Params):
    first: Ends = Field(Ends(), description="the first")
    second: Ends = Field(Ends(), description="the second")


def test_two_params_of_one_type_keep_each_its_own_description(monkeypatch):
    monkeypatch.setattr("recast.pipeline.planning.schema.load", lambda name: Stage(TwoEnds, lambda *_: None))
    schema = recipe_schema(ROOT)
    said = unfolded(schema, schema)["properties"]["stages"]["properties"]["data"]["properties"]
    assert (said["first"]["description"], said["second"]["description"]) == ("the first", "the second")
    assert said["first"]["properties"] == said["second"]["properties"] and not said["second"].get("$ref")


# -- what an editor says of documents

SOUND = """\
model: models.net:Net
stages:
  data: {dataset: digits, resize: [28, 28], resources: {cpu: 2, memory: 0.5}}
  train: {epochs: 3, lr: 0.5, early_stopping: {patience: 2}}
  export:
targets:
  akida:
    export: {opset: 13}
    emit: {device: SixNodesIPv2}
  wasm:
  c: false
"""
# what is replaced by what in the sound one, and the mistakes that gives
WRONG = {
    "a param of no stage": ("epochs: 3", "epoch: 3", ["stages.train.epoch unknown"]),
    "a param of another stage": ("opset: 13", "epochs: 13", ["targets.akida anyOf"]),
    "a param of no stage of a target": ("device: SixNodesIPv2", "devise: x", ["targets.akida anyOf"]),
    "text for a number": ("epochs: 3", "epochs: three", ["stages.train.epochs type"]),
    "true for a number": ("epochs: 3", "epochs: true", ["stages.train.epochs type"]),
    "part of a number for a whole one": ("opset: 13", "opset: 13.5", ["targets.akida anyOf"]),
    "a number that is too small": ("epochs: 3", "epochs: 0", ["stages.train.epochs minimum"]),
    "a number at the limit it must exceed": ("lr: 0.5", "lr: 0", ["stages.train.lr exclusiveMinimum"]),
    "a number that is too small, in a target": ("opset: 13", "opset: 3", ["targets.akida anyOf"]),
    "no choice there is": ("dataset: digits", "dataset: digit", ["stages.data.dataset enum"]),
    "no choice there is, in a target": ("SixNodesIPv2", "SixNodes", ["targets.akida anyOf"]),
    "too many items": ("[28, 28]", "[28, 28, 28]", ["stages.data.resize anyOf"]),
    "an unknown resource": ("cpu: 2", "cpus: 2", ["stages.data.resources.cpus unknown"]),
    "a resource out of range": ("cpu: 2", "cpu: 0", ["stages.data.resources.cpu minimum"]),
    "a resource of the wrong type": ("memory: 0.5", "memory: much", ["stages.data.resources.memory anyOf"]),
    "a part that is missing": ("{patience: 2}", "{}", ["stages.train.early_stopping anyOf"]),
    "an unknown stage": ("export:\ntargets", "exports:\ntargets", ["stages.exports unknown"]),
    "an unknown stage of a target": ("emit:", "emits:", ["targets.akida anyOf"]),
    "an unknown target": ("wasm:", "wasn:", ["targets.wasn unknown"]),
    "a target that is true": ("c: false", "c: true", ["targets.c anyOf"]),
    "an unknown key": ("model:", "modell:", ["modell unknown"]),
    "a model without a class": ("models.net:Net", "models.net", ["model anyOf"]),
    "a stage that is text": ("export:\ntargets", "export: 13\ntargets", ["stages.export type"]),
}


def parsed(text: str) -> Any:
    return YAML(typ="safe").load(text)


def mistakes(document: Any, schema: dict[str, Any]) -> Iterator[str]:
    """Every mistake, as the path of the value and the keyword that it offends."""
    for error in Draft7Validator(schema).iter_errors(document):
        place = [str(key) for key in error.absolute_path]
        if error.validator == "additionalProperties":
            unknown = [name for name in error.instance if name not in error.schema["properties"]]
            yield from (f"{'.'.join([*place, name])} unknown" for name in unknown)
        else:
            yield f"{'.'.join(place)} {error.validator}"


def test_the_schema_is_one_of_draft_7(schema):
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_every_recipe_there_is_has_no_mistake(schema):
    recipes = sorted((ROOT / "recipes").glob("*.yaml"))
    assert recipes
    for path in recipes:
        assert list(mistakes(parsed(path.read_text(encoding="utf-8")), schema)) == [], path


@pytest.mark.parametrize(("right", "wrong", "found"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(schema, right, wrong, found):
    assert list(mistakes(parsed(SOUND), schema)) == [] and SOUND.count(right) == 1
    document = parsed(SOUND.replace(right, wrong))
    assert list(mistakes(document, schema)) == found
    # as by a schema in which nothing is shared
    assert list(mistakes(document, unfolded(schema, schema))) == found


def test_the_committed_schema_is_current_and_recipes_point_at_it():
    assert (ROOT / SCHEMA).read_text(encoding="utf-8") == render_schema(ROOT)
    recipes = sorted((ROOT / "recipes").glob("*.yaml"))
    assert recipes
    for path in recipes:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# yaml-language-server: $schema={Path(SCHEMA).name}", path
