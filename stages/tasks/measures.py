"""Measures that more than one task takes, over arrays; named and computed as in torchmetrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def auc(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve of scores (N,): how often a positive sample's is above a negative's, ties counted half.

    By ranks (Mann-Whitney). None if one of the two kinds is missing.
    """
    import numpy as np

    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse.reshape(-1)]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def f1(both: NDArray[Any], said: NDArray[Any], true: NDArray[Any]) -> NDArray[np.float64]:
    """F1 by class from counts: of samples said and true, said, and true; 0 for a class that is neither."""
    import numpy as np

    sums = said.astype(np.float64) + true
    return np.where(sums > 0, 2 * both / np.maximum(sums, 1), 0.0)


def whole_numbers(y: NDArray[Any] | None, what: str, shape: str) -> NDArray[np.int64]:
    """Labels as int64; StageError, which says the `shape` they should have, for none and for other dtypes."""
    import numpy as np

    if y is None:
        raise StageError(
            f"{what} holds no labels, and this task needs them",
            f"give y, whole numbers {shape}",
            "set task to none, which needs no labels",
        )
    if y.dtype.kind not in "iub":
        raise StageError(f"{what}: y has dtype {y.dtype} and shape {y.shape}", f"give whole numbers, shape {shape}")
    return y.astype(np.int64)


def optional_labels(y: NDArray[Any] | None, what: str) -> NDArray[np.int64] | None:
    """Labels (N,) as int64, or None as given; StageError for another dtype or shape."""
    if y is None:
        return None
    labels = whole_numbers(y, what, "(N,)")
    if labels.ndim != 1:
        raise StageError(f"{what}: y has shape {labels.shape}", "give one label per sample, shape (N,), or no y")
    return labels


def of_zero_and_one(y: NDArray[np.int64], what: str) -> None:
    """StageError for labels that are neither."""
    strange = y[(y != 0) & (y != 1)]
    if strange.size:
        raise StageError(f"{what}: y holds {int(strange.flat[0])}; labels must be 0 or 1", "renumber them")
