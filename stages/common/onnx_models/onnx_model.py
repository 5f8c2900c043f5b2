"""What an ONNX model says of itself, for modules that read none from a file."""

from __future__ import annotations

from typing import Any, TypeAlias

Model: TypeAlias = Any
"""An `onnx.ModelProto`; onnx is not installed where the planner and mypy run."""


def opset(model: Model) -> int:
    """The version of the standard operator set the model uses; 0 if it uses none."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
