"""scikit-learn's handwritten digits, which come with the package."""

from __future__ import annotations

import numpy as np

from recast.stages.trunk.sources import Source


def read() -> Source:
    """scikit-learn's 1 797 handwritten digits, (N, 1, 8, 8), their 0..16 scaled to uint8 0..255."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = np.rint(loaded.images * (255 / 16)).astype(np.uint8)[:, None]
    return Source(images, loaded.target.astype(np.int64), None, None, tuple(str(digit) for digit in range(10)))
