"""A stage's params: the layers that give them values, validated together; and the files that they name."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from recast.pipeline.core.errors import Problem
from recast.pipeline.core.layout import ARTIFACTS
from recast.pipeline.planning.labels import without_labels
from recast.pipeline.planning.param_problems import ParamProblems
from recast.pipeline.planning.value_layer import Layer
from recast.pipeline.recipes.document import kind_of_file
from recast.pipeline.recipes.recipe import SAID_AT_THE_TOP, Recipe
from recast.pipeline.recipes.value_words import shortened
from recast.stages.base import NamedByRecipe, Params, Stage


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
        for key in SAID_AT_THE_TOP if layer.path else ():
            if key in layer.values and key in stage.params.model_fields:
                problem = layer.document.problem(
                    (*layer.path, key), f"'{key}' is no param of a stage", "say it at the top"
                )
                if problem not in problems:
                    problems.append(problem)
    values.update(model.values if model else {})
    found = []
    for number, layer in enumerate(layers):
        # what is written must be right even where something stronger is said
        hidden = {key for key in layer.values if any(key in above.values for above in layers[number + 1 :])}
        if hidden:
            instead = {**values, **layer.values}
            wrong = [detail for detail in _refused(stage, instead) if detail["loc"] and detail["loc"][0] in hidden]
            found.append((layers[: number + 1], wrong, instead))
    found.append((layers, _refused(stage, values), values))
    is_refused = False
    for said, details, given in found:
        if details:
            is_refused = True
            # what a file says wrong of a stage is wrong for everyone who inherits it, and said once
            for problem in ParamProblems(recipe, target, name, stage, said).of(details, given):
                if problem not in problems:
                    problems.append(problem)
    if is_refused or len(problems) > before:
        return None
    try:
        return _validated(stage, values)
    except ValidationError:
        return None  # for the model, which `check_model` has refused


def _refused(stage: Stage[Any], values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What pydantic says is wrong; without what is wrong with the model, which `check_model` says once."""
    try:
        _validated(stage, values)
    except ValidationError as error:
        return [detail for detail in error.errors(include_url=False) if detail["loc"][:1] != ("model",)]
    return []


def _validated(stage: Stage[Any], values: Mapping[str, Any]) -> Params:
    # through JSON, so that a list may fill a tuple while text may not fill a number
    params: Params = stage.params.model_validate_json(json.dumps(without_labels(values)), strict=True)
    return params


def check_files(root: Path, params: Params, layers: list[Layer], problems: list[Problem]) -> dict[str, str]:
    """param name -> file or folder of the repository it names; problems for those that cannot be read.

    One that is absent is fine if DVC can bring it: by a `.dvc` file beside it, or as the output of a stage of the
    user's own in a dvc.yaml.
    """
    files: dict[str, str] = {}
    for name, info in type(params).model_fields.items():
        value = getattr(params, name)
        if value is None or not _names_a_file(info):
            continue
        layer = next(layer for layer in reversed(layers) if name in layer.values)
        try:
            refusal = _refusal(root, value)
        except OSError as error:  # such as a name longer than the system takes
            refusal = f"'{shortened(value)}' cannot be looked at: {error.strerror}", "mend the path"
        if refusal:
            problem = layer.document.problem((*layer.path, name), *refusal)
            if problem not in problems:
                problems.append(problem)
        files[name] = value
    return files


def _refusal(root: Path, value: str) -> tuple[str, str] | None:
    """What is wrong with a file or folder that a recipe names, and the remedy; None if it is there, or can be."""
    path, shown = root / value, shortened(value)
    if Path(os.path.normpath(path)) == root:
        return f"'{shown}' is the repository itself", "name a file or folder in it"
    if not path.exists():
        if _is_made_by_dvc(root, path):
            return None
        if path.is_symlink():
            return f"'{shown}' is a link to nothing", "mend the link"
        return f"no such file or folder in the repository: '{shown}'", "put it there, or mend the path"
    if not path.resolve().is_relative_to(root.resolve()):
        return f"'{shown}' is a link that leads outside the repository", "copy the file in"
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        # DVC would wait for a FIFO to be written to
        return f"'{shown}' is {kind_of_file(mode)}, not a file or folder", "put a plain file in its place"
    if not os.access(path, os.R_OK):
        return f"'{shown}' cannot be read", "see who may read it"
    return None


def _is_made_by_dvc(root: Path, path: Path) -> bool:
    """Whether the path, or a folder it lies in, has a `.dvc` file, or is an output in a dvc.yaml further up."""
    places = [place for place in (path, *path.parents) if place.is_relative_to(root) and place != root]
    if any(place.with_name(f"{place.name}.dvc").exists() for place in places):
        return True
    folders = [*places[1:], root]
    # what recipes make is no file of the repository, though the root's dvc.yaml lists it
    outputs = (made for folder in folders for made in _outputs(folder / "dvc.yaml"))
    return any(made in places and not made.is_relative_to(root / ARTIFACTS) for made in outputs)


def _outputs(dvcfile: Path) -> Iterator[Path]:
    if not dvcfile.is_file():
        return
    try:
        stages = YAML(typ="safe").load(dvcfile.read_text(encoding="utf-8"))["stages"].values()
        for stage in stages:
            for out in stage.get("outs", ()):
                name = out if isinstance(out, str) else next(iter(out))
                yield Path(os.path.normpath(dvcfile.parent / stage.get("wdir", ".") / name))
    except Exception:  # it is the user's own, and may hold anything
        return  # DVC says what is wrong with it


def _names_a_file(info: Any) -> bool:
    """Whether a pydantic field is a RepositoryPath, or an optional one."""
    alternatives = getattr(info.annotation, "__args__", ())
    marks = [*info.metadata, *(mark for kind in alternatives for mark in getattr(kind, "__metadata__", ()))]
    return any(isinstance(mark, NamedByRecipe) for mark in marks)
