"""Import the `nn.Module` a recipe names and construct it."""

from __future__ import annotations

import inspect
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

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
                f"install '{error.name}' in the environment of the `train` stage, or drop the import",
            ) from error
        raise StageError(f"there is no module {module_name}", f"create {path}, or mend `model`") from error
    except Exception as error:
        raise StageError(
            f"cannot import {module_name}: {_where(error, path)}: {_said(error)}", f"mend {path}"
        ) from error

    chosen = getattr(module, class_name, None)
    if chosen is None:
        here = [name for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, nn.Module)]
        raise StageError(f"{path} has no class {class_name}", did_you_mean(class_name, here))
    if (inspect.isclass(chosen) and not issubclass(chosen, nn.Module)) or not callable(chosen):
        raise StageError(f"{reference.name} is not a torch.nn.Module class", "name a class that extends nn.Module")
    try:
        model: object = chosen(**reference.args)
    except Exception as error:
        where = _where(error, path)
        raise StageError(
            f"cannot construct {reference.name}: {where}: {_said(error)}", f"mend {path}, or the model's `args`"
        ) from error
    if not isinstance(model, nn.Module):
        message = f"{reference.name} returns {type(model).__name__}, not a torch.nn.Module"
        raise StageError(message, "name a class that extends nn.Module, or a function that makes one")
    return model


def failure(error: BaseException, name: str) -> str:
    """What a model said when it was run, and where: `KeyError: 'oops' (models/net.py:12)`; `name` is module:Class."""
    said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    path = name.partition(":")[0].replace(".", "/") + ".py"
    where = _where(error, path)
    # a line of PyTorch's own says nothing to whoever wrote the model
    return f"{said} ({where})" if where.partition(":")[0].endswith(path) and ":" in where else said


def _said(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}"


def _where(error: BaseException, path: str) -> str:
    """file:line of the innermost frame in the model's own file, or else of the innermost frame."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "<frozen" not in frame.filename]
    own = [frame for frame in frames if Path(frame.filename).as_posix().endswith("/" + path)]
    if own:
        return f"{_shown(own[-1].filename)}:{own[-1].lineno}"
    if frames and Path(frames[-1].filename) != Path(__file__):
        return f"{_shown(frames[-1].filename)}:{frames[-1].lineno}"
    return path


def _shown(filename: str) -> str:
    """The file relative to the place it was imported from."""
    file = Path(filename)
    roots = [Path(entry) for entry in sys.path if entry and file.is_relative_to(entry)]
    return file.relative_to(max(roots, key=lambda root: len(root.parts))).as_posix() if roots else file.name
