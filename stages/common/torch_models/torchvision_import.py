"""Import torchvision where its compiled operators do not fit the PyTorch beside it."""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType
from typing import Any

from recast.stages.base import StageError

_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")


def import_torchvision(submodule: str = "") -> Any:
    """`torchvision`, or `torchvision.<submodule>`, imported even beside a PyTorch of another build.

    torchvision from the Python index is a CUDA build; beside a CPU-only PyTorch its import raises
    `RuntimeError: operator torchvision::nms does not exist`, though datasets, transforms and models
    need none of those operators. Only when it fails so are the missing ones declared, without a body.

    Raises StageError if torchvision is absent or fails in another way.
    """
    name = f"torchvision.{submodule}" if submodule else "torchvision"
    declared: list[Any] = []  # a library is undone when it is collected
    while True:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise StageError(
                f"cannot import {name}: {error}", "build the environment of torchvision again: 'recast env build torch'"
            ) from error
        except RuntimeError as error:
            missing = _MISSING.search(str(error))
            if missing is None or missing[1] in {operator for operator, _ in declared}:
                raise StageError(
                    f"cannot import {name}: {error}",
                    "pin a torchvision made for this PyTorch in envs/torch.in, and run "
                    "'.venv/bin/python envs/lock.py torch'",
                ) from error
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{missing[1]}() -> ()")
            declared.append((missing[1], library))
            for half_imported in [loaded for loaded in sys.modules if loaded.partition(".")[0] == "torchvision"]:
                del sys.modules[half_imported]
            continue
        if declared:
            module.__dict__["_declared_operators"] = declared
        return module


def import_module(name: str) -> ModuleType:
    """`importlib.import_module` for a module that may import torchvision, or be part of it: see import_torchvision.

    Raises what the module's code raises.
    """
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if _MISSING.search(str(error)) is None:
            raise
    import_torchvision()
    return importlib.import_module(name)
