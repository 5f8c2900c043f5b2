"""Import the `nn.Module` a recipe names and construct it."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import ModelReference, ProjectCode, StageError
from recast.stages.common.spelling import did_you_mean
from recast.stages.common.torch_models import model_source, user_code
from recast.stages.common.torch_models.torchvision_import import import_module

if TYPE_CHECKING:
    from torch import nn


def build_model(reference: ModelReference, project: ProjectCode) -> nn.Module:
    """The model that the class, or function, `reference` names makes of its arguments, on the CPU.

    Its initial weights come from PyTorch's current random state. Nothing is imported but a module that `model_source`
    allows of the project, and nothing called but an `nn.Module` class or a function that makes models.
    Raises StageError, with the file and line at fault, when that is not what is named, or when the import or the
    constructor fails.
    """
    from torch import nn

    module_name, _, class_name = reference.name.partition(":")
    file = model_source.source_of(project, module_name)
    path = file.relative_to(project.root).as_posix() if file else module_name
    module = _imported(module_name, path)
    if file and Path(str(module.__file__)).resolve() != file.resolve():
        raise StageError(f"{module_name} was imported from {module.__file__}, not from {path}", "rename the module")

    chosen = getattr(module, class_name, None)
    if chosen is None:
        here = [name for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, nn.Module)]
        raise StageError(f"{path} has no class {class_name}", did_you_mean(class_name, here))
    _refuse_others(chosen, reference.name, project)
    try:
        model: object = chosen(**reference.args)
    except Exception as error:
        where = _where(error, path)
        raise StageError(
            f"cannot construct {reference.name}: {where}: {_said(error)}", _mend(error), "mend the model's `args`"
        ) from error
    if not isinstance(model, nn.Module):
        message = f"{reference.name} returns {type(model).__name__}, not a torch.nn.Module"
        raise StageError(message, "name a class that extends nn.Module as `model`, or a function that makes one")
    return model


def _imported(name: str, path: str) -> types.ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise StageError(
                f"cannot import {name}: {_where(error, path)}: {error}",
                *user_code.absent_module(error.name or "", user_code.place_of(error)),
            ) from error
        create = f"create {path}, or " if path.endswith(".py") else ""
        raise StageError(f"there is no module {name}", f"{create}mend `model`") from error
    except Exception as error:
        raise StageError(
            f"cannot import {name}: {_where(error, path)}: {_said(error)}", _mend(error) or user_code.ANOTHER
        ) from error


def _refuse_others(chosen: Any, name: str, project: ProjectCode) -> None:
    """StageError unless `chosen` is an `nn.Module` class, or a function of the project, or a package's model builder.

    A module of the project may have imported anything, `system` of `os` for one, and that can be named then: what
    counts is where a function was defined. Of a package, only functions annotated to return an `nn.Module` are
    builders.
    """
    from torch import nn

    while isinstance(chosen, functools.partial):
        chosen = chosen.func
    if inspect.isclass(chosen):
        if not issubclass(chosen, nn.Module):
            raise StageError(f"{name} is not a torch.nn.Module class", "name a class that extends nn.Module as `model`")
        return
    chosen = getattr(chosen, "__func__", chosen)
    try:
        function = inspect.unwrap(chosen)
    except ValueError:  # it wraps itself
        function = None
    if not isinstance(function, types.FunctionType):
        raise StageError(
            f"{name} is of type {type(chosen).__name__}, neither a class nor a function of Python",
            "name a class that extends nn.Module as `model`, or a function that makes one",
        )
    home = str(function.__globals__.get("__name__"))
    try:
        file = model_source.source_of(project, home)
    except StageError as error:
        raise StageError(
            f"{name} is a function of {home}, which a recipe may not call", "name what the module itself defines"
        ) from error
    if file is not None and not {home.partition(".")[0], file.relative_to(project.root).parts[0]}.intersection(
        model_source.ONLY_CLASSES
    ):
        return
    try:
        made = typing.get_type_hints(function).get("return")
    except Exception:  # an annotation is code, which may raise anything
        made = None
    if not (inspect.isclass(made) and issubclass(made, nn.Module)):
        raise StageError(
            f"{name} is not annotated to return a torch.nn.Module, so it is no builder of models",
            "name a class that extends nn.Module as `model`, or a function of your own that makes one",
        )


def failure(error: BaseException) -> str:
    """What a model said when it was run, and where in the user's code: `KeyError: 'oops' (models/net.py:12)`."""
    place = user_code.place_of(error)
    said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    # a line of PyTorch's own says nothing to whoever wrote the model
    return f"{said} ({place})" if place else said


def _said(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}"


def _mend(error: BaseException) -> str:
    """To mend the file at fault if it is one of the user's: never one of a package, or of Python."""
    place = user_code.place_of(error)
    return f"mend {place.rpartition(':')[0]}" if place else ""


def _where(error: BaseException, path: str) -> str:
    """file:line of the innermost frame of the user's own code, or else the model's file."""
    return user_code.place_of(error) or path
