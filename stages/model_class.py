"""Import the `nn.Module` a recipe names and construct it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from stages import user_code
from stages.base import ModelReference, StageError
from stages.spelling import did_you_mean
from stages.torchvision_import import import_module

if TYPE_CHECKING:
    from torch import nn


def build_model(reference: ModelReference) -> nn.Module:
    """The model that the class, or function, `reference` names makes of its arguments, on the CPU.

    Its initial weights come from PyTorch's current random state. Raises StageError, with the file
    and line at fault, when the import or the constructor fails or the class is no `nn.Module`.
    """
    from torch import nn

    module_name, _, class_name = reference.name.partition(":")
    path = module_name.replace(".", "/") + ".py"
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise StageError(
                f"cannot import {module_name}: {_where(error, path)}: {error}",
                *user_code.absent_module(error.name or "", user_code.place_of(error)),
            ) from error
        raise StageError(f"there is no module {module_name}", f"create {path}, or mend `model`") from error
    except Exception as error:
        raise StageError(
            f"cannot import {module_name}: {_where(error, path)}: {_said(error)}", _mend(error) or user_code.ANOTHER
        ) from error

    chosen = getattr(module, class_name, None)
    if chosen is None:
        here = [name for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, nn.Module)]
        raise StageError(f"{path} has no class {class_name}", did_you_mean(class_name, here))
    if (inspect.isclass(chosen) and not issubclass(chosen, nn.Module)) or not callable(chosen):
        raise StageError(
            f"{reference.name} is not a torch.nn.Module class", "name a class that extends nn.Module as `model`"
        )
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
