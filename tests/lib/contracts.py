"""Contracts of models with one input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recast.stages.common.dataset import Contract, Input
from recast.stages.tasks.task import TaskReference

AGREE = TaskReference(name="classification").load().agreement


def contract(
    dataset: str,
    shape: tuple[int, ...],
    stored_dtype: str,
    divisor: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    classes: tuple[str, ...] = (),
    task: Mapping[str, Any] | None = None,
    dtype: str = "float32",
) -> Contract:
    """Of a classifier, unless a task is named."""
    only = Input("x", shape, stored_dtype, divisor, mean, std, dtype)
    return Contract(dataset, (only,), classes, task or {"name": "classification"})
