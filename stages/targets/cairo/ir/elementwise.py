"""Applies functions of single integers, as `recast.stages.targets.cairo.syntax.scalar` has them, to arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def each(function: Callable[[int], int], x: NDArray[Any]) -> NDArray[Any]:
    """A function of integers for every element, computed once for each value that occurs; int64."""
    import numpy as np

    found, where = np.unique(x, return_inverse=True)
    results = np.array([function(int(value)) for value in found], np.int64)
    return results[where].reshape(x.shape)
