"""Images of digits as displays of seven segments show them, moved, slanted, of several strengths, and noisy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
LINES = {
    "a": ((0, 0), (0, 1)),
    "b": ((0, 1), (1, 1)),
    "c": ((1, 1), (2, 1)),
    "d": ((2, 0), (2, 1)),
    "e": ((1, 0), (2, 0)),
    "f": ((0, 0), (1, 0)),
    "g": ((1, 0), (1, 1)),
}
"""segment -> its ends, (row, column) in units of a segment"""


def digit_images(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """x (count, 1, 28, 28) uint8 and y (count,) int64, the digits."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    rows, columns = np.mgrid[:28, :28]
    images = random.normal(20, 12, (count, 28, 28))
    for image, label in zip(images, labels, strict=True):
        size, slant = random.uniform(7, 9), random.uniform(-0.2, 0.2)
        top, left = random.uniform(3, 7), random.uniform(6, 12)
        strength, width = random.uniform(120, 230), random.uniform(0.8, 1.6)
        for segment in SEGMENTS[label]:
            for step in np.linspace(0, 1, 9):
                (row, column), (to_row, to_column) = LINES[segment]
                y = top + size * (row + step * (to_row - row))
                x = left + size * (column + step * (to_column - column)) - slant * (y - 14)
                near = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * width**2))
                np.maximum(image, strength * near, out=image)
    return np.clip(images, 0, 255).astype(np.uint8)[:, None], labels
