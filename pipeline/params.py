"""A stage's params: the layers that give them values, validated together, each error where it was written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.closure import defined_names, import_closure, module_files
from pipeline.document import Document, KeyPath, kind
from pipeline.errors import Problem, did_you_mean
from pipeline.recipe import Recipe
from stages.base import ModelReference, NamedByRecipe, Params, Stage


@dataclass(frozen=True)
class Layer:
    """What one file says about a stage."""

    document: Document
    path: KeyPath
    values: Mapping[str, Any]
    owner: str | None
    """the recipe the file is; None for defaults that recipes share"""

    @property
    def tracked(self) -> tuple[str, str]:
        """(file, dotted key): what DVC watches."""
        return self.document.file, ".".join(str(key) for key in self.path)


def validate_params(
    recipe: Recipe,
    target: str | None,
    name: str,
    stage: Stage[Any],
    layers: list[Layer],
    model: Layer | None,
    problems: list[Problem],
) -> Params | None:
    """The stage's params with every layer applied; None, with problems added, if they are refused."""
    values: dict[str, Any] = {}
    before = len(problems)
    for layer in layers:
        values.update(layer.values)
        if "model" in layer.values and "model" in stage.params.model_fields:
            where = (*layer.path, "model")
            problems.append(layer.document.problem(where, "'model' is no param of a stage", "say it at the top"))
    values.update(model.values if model else {})
    address = f"{target}/{name}" if target else name
    explain = _Explainer(f"stage '{address}' of recipe '{recipe.name}'", recipe, stage.params, layers, name)
    try:
        # through JSON, so that a list may fill a tuple while text may not fill a number
        params: Params = stage.params.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        # what is wrong with the model is said once, by check_model
        details = [detail for detail in error.errors(include_url=False) if detail["loc"][:1] != ("model",)]
        problems.extend(explain.problem(detail) for detail in details)
        return None
    return params if len(problems) == before else None


@dataclass(frozen=True)
class _Explainer:
    """Turns pydantic's error details into problems with a place and a remedy."""

    subject: str
    recipe: Recipe
    params: type[Params]
    layers: list[Layer]
    name: str

    def problem(self, detail: Mapping[str, Any]) -> Problem:
        loc: KeyPath = tuple(detail["loc"])
        dotted = ".".join(str(part) for part in loc)
        said = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input ")
        document, path = self._place(loc, missing=detail["type"] == "missing")
        if detail["type"] == "missing":
            return document.problem(path, f"{self.subject} needs '{dotted}'", self._described(loc))
        if detail["type"] == "extra_forbidden":
            known = [name for name in _fields(self.params, loc[:-1]) if name != "model"]
            return document.problem(path, f"{self.subject} has no param '{dotted}'", did_you_mean(str(loc[-1]), known))
        if not loc:
            return document.problem(path, f"{self.subject}: {said}")
        if detail["type"] == "value_error":
            return document.problem(path, f"'{dotted}' {said}", self._described(loc))
        value = detail["input"]
        if detail["type"] == "literal_error" and isinstance(value, str):
            choices = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
            return document.problem(path, f"'{dotted}' cannot be '{value}'", did_you_mean(value, choices))
        shown = f"{kind(value)} {value!r}" if type(value) in (str, int, float) else kind(value)
        return document.problem(path, f"'{dotted}' {said}, not {shown}", self._described(loc))

    def _place(self, loc: KeyPath, missing: bool) -> tuple[Document, KeyPath]:
        """The file and key path of the value an error is about, or of the section it is missing from."""
        if not missing:
            for layer in reversed(self.layers):
                if loc and loc[0] in layer.values:
                    return layer.document, (*layer.path, *loc)
        own = next((layer for layer in reversed(self.layers) if layer.owner), None)
        return (own.document, own.path) if own else (self.recipe.document, ("stages", self.name))

    def _described(self, loc: KeyPath) -> str:
        model = _model_at(self.params, loc[:-1])
        info = model.model_fields.get(str(loc[-1])) if model and loc else None
        return f"{loc[-1]} is: {info.description}" if info and info.description else ""


def _fields(params: type[Params], loc: Iterable[str | int]) -> list[str]:
    """Names of the fields of the params, or of the mapping inside them at `loc`."""
    model = _model_at(params, loc)
    return list(model.model_fields) if model else []


def _model_at(params: type[Params], loc: Iterable[str | int]) -> type[BaseModel] | None:
    """The pydantic model that describes the params, or the mapping inside them at `loc`, if one does."""
    model: type[BaseModel] = params
    for key in loc:
        info = model.model_fields.get(str(key))
        kinds = (info.annotation, *getattr(info.annotation, "__args__", ())) if info else ()
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return None
        model = inner[0]
    return model


def check_model(root: Path, recipe: Recipe, model: Layer | None, problems: list[Problem]) -> tuple[str, ...]:
    """The repository files that importing the recipe's model reads; problems if it cannot be there.

    A model of an installed package (`torchvision.models:resnet18`) has none: its pins stand for it.
    """

    def refuse(message: str, remedy: str, *within: str | int) -> tuple[str, ...]:
        document, path = (model.document, (*model.path, *within)) if model else (recipe.document, ())
        if (problem := document.problem(path, message, remedy)) not in problems:
            problems.append(problem)
        return ()

    if model is None:
        return refuse("the recipe names no model", "add 'model: module:Class' at the top")
    try:
        reference = ModelReference.model_validate_json(json.dumps(model.values["model"]), strict=True)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            if detail["type"] == "extra_forbidden":
                key = detail["loc"][0]
                refuse(f"'model' has no '{key}'", did_you_mean(str(key), ModelReference.model_fields), key)
            else:
                example = "for example 'models.mnist_cnn:MnistCnn', or a mapping with its name and args"
                refuse("'model' must be 'module:Class'", example, *detail["loc"])
        return ()
    module, _, name = reference.name.partition(":")
    parts = module.split(".")
    package = root / parts[0]
    if parts[0] != "models" and not package.is_dir() and not package.with_suffix(".py").is_file():
        return ()
    own = root.joinpath(*parts)
    file = own / "__init__.py" if own.is_dir() else own.with_suffix(".py")
    shown = file.relative_to(root).as_posix()
    if file not in module_files(root, module):
        known = [path.stem for path in own.parent.glob("*.py") if path.stem != "__init__"]
        message = f"the model's module '{module}' should be in {shown}, which does not exist"
        return refuse(message, did_you_mean(parts[-1], known))
    names = defined_names(file)
    if names is not None and name not in names:
        refuse(f"{shown} defines no '{name}'", did_you_mean(name, names))
    return import_closure(root, module)


def check_files(root: Path, params: Params, layers: list[Layer], problems: list[Problem]) -> dict[str, str]:
    """param name -> file or folder of the repository it names; problems for those that cannot be read.

    One that is absent is fine if DVC can bring it: by a `.dvc` file beside it, or as the output of a stage in a
    dvc.yaml of the user's own.
    """
    files: dict[str, str] = {}
    for name, info in type(params).model_fields.items():
        value = getattr(params, name)
        if value is None or not _names_a_file(info):
            continue
        layer = next(layer for layer in reversed(layers) if name in layer.values)
        path = root / value
        if path.exists() and not path.resolve().is_relative_to(root.resolve()):
            message = f"'{value}' is a link that leads outside the repository"
            problems.append(layer.document.problem((*layer.path, name), message, "copy the file in"))
        elif not path.exists() and not _is_made_by_dvc(root, path):
            message = f"no such file or folder in the repository: '{value}'"
            problems.append(layer.document.problem((*layer.path, name), message, "put it there, or mend the path"))
        files[name] = value
    return files


def _is_made_by_dvc(root: Path, path: Path) -> bool:
    """Whether the path, or a folder it lies in, has a `.dvc` file, or is an output in a dvc.yaml further up."""
    places = [place for place in (path, *path.parents) if place.is_relative_to(root) and place != root]
    if any(place.with_name(f"{place.name}.dvc").exists() for place in places):
        return True
    # the root's own dvc.yaml is made from the recipes
    return any(made in places for folder in places[1:] for made in _outputs(folder / "dvc.yaml"))


def _outputs(dvcfile: Path) -> Iterator[Path]:
    if not dvcfile.is_file():
        return
    try:
        stages = YAML(typ="safe").load(dvcfile.read_text(encoding="utf-8"))["stages"].values()
        for stage in stages:
            for out in stage.get("outs", ()):
                name = out if isinstance(out, str) else next(iter(out))
                yield Path(os.path.normpath(dvcfile.parent / stage.get("wdir", ".") / name))
    except (YAMLError, AttributeError, TypeError, KeyError):
        return  # DVC says what is wrong with it


def _names_a_file(info: Any) -> bool:
    """Whether a pydantic field is a RepositoryPath, or an optional one."""
    alternatives = getattr(info.annotation, "__args__", ())
    marks = [*info.metadata, *(mark for kind in alternatives for mark in getattr(kind, "__metadata__", ()))]
    return any(isinstance(mark, NamedByRecipe) for mark in marks)
