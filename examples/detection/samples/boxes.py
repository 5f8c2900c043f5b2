"""How good boxes on a grid are, in NumPy: it runs where an emitted model does."""

import numpy as np


def box_f1(outputs: np.ndarray, labels: np.ndarray) -> float:
    """F1 of the boxes of (N, 5, rows, columns), those of a logit above 0, that overlap a true one by half or more."""
    said, true = outputs[:, 0] > 0, labels[:, 0] > 0.5
    right = said & true & (_overlap(outputs, labels) >= 0.5)
    return float(2 * right.sum() / max(said.sum() + true.sum(), 1))


def _overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union (N, rows, columns) of the boxes of each cell."""
    low = np.maximum(one[:, 1:3] - one[:, 3:5] / 2, other[:, 1:3] - other[:, 3:5] / 2)
    high = np.minimum(one[:, 1:3] + one[:, 3:5] / 2, other[:, 1:3] + other[:, 3:5] / 2)
    both = np.clip(high - low, 0, None).prod(1)
    areas = np.clip(one[:, 3:5], 0, None).prod(1) + np.clip(other[:, 3:5], 0, None).prod(1)
    return both / np.maximum(areas - both, 1e-9)
