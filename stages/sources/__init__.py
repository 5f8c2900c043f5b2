"""Where samples come from: one module per kind of dataset, each with a `read` that gives a `Source`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Source:
    """A dataset as read: samples uint8 or float32 (N, F), (N, C, L) or (N, C, H, W), labels int64 (N,), 0..K-1."""

    x: NDArray[Any]
    y: NDArray[np.int64]
    x_test: NDArray[Any] | None
    """None where the dataset has no test split of its own"""
    y_test: NDArray[np.int64] | None
    classes: tuple[str, ...]
