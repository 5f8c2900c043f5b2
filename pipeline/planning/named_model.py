"""The model a recipe names, as far as source tells: where it may come from, that it is there, and its arguments."""

from __future__ import annotations

import json

from pydantic import ValidationError

from recast.pipeline.core.errors import Problem
from recast.pipeline.planning import source_definition, source_faults
from recast.pipeline.planning.import_graph import defined_names, import_closure
from recast.pipeline.planning.value_layer import Layer
from recast.pipeline.recipes.own_packages import OwnPackages
from recast.pipeline.recipes.recipe import Recipe
from recast.pipeline.recipes.value_words import shown
from recast.stages.base import ModelReference, ProjectCode, StageError
from recast.stages.common.spelling import did_you_mean, nearest
from recast.stages.common.torch_models.model_source import source_of

_EXAMPLE = "for example 'models.mnist_cnn:MnistCnn', or a mapping with its name and args"
_PLAIN = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
"""annotations that say which values of YAML fit"""
_PLAIN_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


def check_model(
    project: ProjectCode,
    recipe: Recipe,
    model: Layer | None,
    environment: str,
    own: OwnPackages | None,
    problems: list[Problem],
) -> tuple[str, ...]:
    """The repository files that importing the recipe's model reads; problems if it may not be named, or is not there.

    `environment`: where it is imported, with the packages of `own` beside those of it. A model of an installed package
    (`torchvision.models:resnet18`) has no files: its pins stand for it.
    """

    def refuse(message: str, remedy: str, *within: str | int) -> tuple[str, ...]:
        document, path = (model.document, (*model.path, *within)) if model else (recipe.document, ())
        if (problem := document.problem(path, message, remedy)) not in problems:
            problems.append(problem)
        return ()

    if model is None:
        return refuse("the recipe names no model", "add 'model: module:Class' at the top")
    said = model.values["model"]
    try:
        reference = ModelReference.model_validate_json(json.dumps(said), strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)
        extra = [str(detail["loc"][0]) for detail in details if detail["type"] == "extra_forbidden"]
        for key in extra:
            arguments = f"arguments of the model go into 'args: {{{key}: …}}'"
            fields = list(ModelReference.model_fields)
            refuse(f"'model' has no '{key}'", did_you_mean(key, fields) if nearest(key, fields) else arguments, key)
        if any(detail["loc"] == ("args",) for detail in details):
            message = f"the model's 'args' must be a mapping of its arguments, not {shown(said['args'])}"
            refuse(message, "for example 'args: {width: 8}'", "args")
        elif details[0]["type"] == "missing" and said:
            if not any(nearest(key, ["name"]) for key in extra):
                refuse("the model needs a 'name'", _EXAMPLE)
        elif not extra:
            value = said.get("name", said) if isinstance(said, dict) else said
            refuse(f"'model' must be 'module:Class', not {shown(value)}", _as_reference(value), "name")
        return ()
    module, _, name = reference.name.partition(":")
    try:
        file = source_of(project, module)
        if file is None:
            return ()
        names = defined_names(file)
        if names is not None and name not in names:
            return refuse(
                f"{file.relative_to(project.root).as_posix()} defines no '{name}'",
                did_you_mean(name, source_definition.makers(file)),
                "name",
            )
        found = source_definition.find(project, module, file, name)
    except StageError as error:
        return refuse(error.message, error.remedy, "name")
    except OSError as error:
        return refuse(f"the model's module '{module}' cannot be read: {error.strerror}", "mend the name", "name")
    if found and (signature := source_definition.signature(project, found)):
        for message, remedy, where in _misfits(name, signature, reference):
            refuse(message, remedy, "args", *where)
    files = import_closure(project.root, module, import_roots=project.import_roots)
    for message, remedy in source_faults.faults(project, files, environment, own):
        refuse(message, remedy, "name")
    return files


def _as_reference(value: object) -> str:
    """How to write what was meant by a path or a dotted name; else an example."""
    if isinstance(value, str):
        file, _, name = value.partition(":")
        module = file.removesuffix(".py").replace("/", ".")
        if not name:
            module, _, name = module.rpartition(".")
        if name.isidentifier() and module and all(part.isidentifier() for part in module.split(".")):
            return f"write '{module}:{name}'"
    return _EXAMPLE


def _misfits(
    name: str, signature: source_definition.Signature, reference: ModelReference
) -> list[tuple[str, str, tuple[str, ...]]]:
    """What the recipe's arguments and the model's do not agree on: message, remedy, and which argument it is at."""
    found: list[tuple[str, str, tuple[str, ...]]] = []
    known = {argument.name: argument for argument in signature.arguments}
    for given, value in reference.args.items():
        argument = known.get(given)
        if argument is None:
            if not signature.open_ended:
                remedy = did_you_mean(given, known) if known else "it takes none"
                found.append((f"the model '{name}' takes no argument '{given}'", remedy, (given,)))
        elif not _fits(argument, value):
            wanted = _PLAIN_WORDS[argument.annotation]
            message = f"the argument '{given}' of the model '{name}' must be {wanted}, not {shown(value)}"
            found.append((message, "mend it here, or the annotation in its source", (given,)))
    for argument in signature.arguments:
        # what was misspelt is missing too
        misspelt = any(nearest(given, [argument.name]) for given in reference.args if given not in known)
        if argument.required and argument.name not in reference.args and not misspelt:
            remedy = f"write 'model: {{name: \"{reference.name}\", args: {{{argument.name}: …}}}}'"
            found.append((f"the model '{name}' needs the argument '{argument.name}'", remedy, ()))
    return found


def _fits(argument: source_definition.Argument, value: object) -> bool:
    kinds = _PLAIN.get(argument.annotation)
    if kinds is None or (value is None and argument.nullable):
        return True
    # to Python, true is a whole number
    return isinstance(value, kinds) and (not isinstance(value, bool) or argument.annotation == "bool")
