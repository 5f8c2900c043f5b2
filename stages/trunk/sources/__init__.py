"""Where samples come from: one module per kind of dataset, each with a `read` that gives a `Source`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from recast.stages.common.samples import Taken
from recast.stages.trunk.sources.spilled import Rows

SPLITS = ("train", "validation", "test", "calibration")


@dataclass(frozen=True)
class Source:
    """A dataset as read: samples (N, ...), of images (N, C, H, W), uint8, floats or whole numbers; labels (N, ...).

    Where a model has several inputs, `x` holds an array for each. The task judges labels. Samples of uint8 and floats
    are normalised, other whole numbers are tokens.
    """

    x: Taken | Rows
    y: NDArray[Any] | None
    """None where there are no labels"""
    x_test: Taken | Rows | None
    """None where the dataset has no test split of its own"""
    y_test: NDArray[Any] | None
    classes: tuple[str, ...] = ()
    """names of the classes 0..K-1, where they have any"""
    split: NDArray[Any] | None = None
    """of x: the split (N,) that each sample is for, one of `SPLITS`, as its owner has it; None where none is said"""
    groups: NDArray[Any] | None = None
    """of x: what (N,) no two splits may share, such as a machine or a patient; None where samples stand alone"""
    front_end: Mapping[str, Any] = field(default_factory=dict)
    """what made samples of what was recorded, for the contract; empty where they are as recorded"""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """what was left out, in words -> how many"""
