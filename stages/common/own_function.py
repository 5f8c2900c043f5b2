"""A function of the project's that a recipe names, `module:name`, imported: a loss, a metric."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recast.stages.base import ProjectCode, StageError
from recast.stages.common.spelling import did_you_mean
from recast.stages.common.torch_models import model_source, user_code


def load(reference: str, param: str, project: ProjectCode) -> Callable[..., Any]:
    """What `reference` names in the project: a function or class that is defined there.

    `param` is what names it, for the message. Raises StageError for a module that no recipe may name, that cannot be
    imported, that lacks the name, and for what the module only imported: that could be anything.
    """
    name, _, wanted = reference.partition(":")
    file = model_source.source_of(project, name)
    if file is None:
        raise StageError(f"{param} names {reference}, which is of a package", "name a function of the project's own")
    shown = file.relative_to(project.root).as_posix()
    try:
        module = importlib.import_module(name)
    except Exception as error:
        place = user_code.place_of(error) or shown
        raise StageError(
            f"cannot import {name}: {place}: {type(error).__name__}: {error}",
            f"mend {place.rpartition(':')[0] or shown}",
        ) from error
    if Path(str(module.__file__)).resolve() != file.resolve():
        raise StageError(f"{name} was imported from {module.__file__}, not from {shown}", "rename the module")
    found = getattr(module, wanted, None)
    if found is None:
        here = [key for key, value in vars(module).items() if _is_defined_in(value, module)]
        raise StageError(f"{shown} has no {wanted}", did_you_mean(wanted, here))
    if not _is_defined_in(found, module):
        raise StageError(
            f"{param} names {reference}, which is no function or class that {shown} defines",
            f"define it in {shown}, or name the module that does",
        )
    function: Callable[..., Any] = found
    return function


def _is_defined_in(value: object, module: Any) -> bool:
    return (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == module.__name__
