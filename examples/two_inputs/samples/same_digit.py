"""Pairs of scikit-learn's digits, half of them alike."""

import numpy as np
from sklearn.datasets import load_digits


def pairs(seed: int = 0) -> dict[str, np.ndarray]:
    """left and right uint8 (N, 8, 8) and y (N,), for training and for test: no image is in both."""
    random = np.random.default_rng(seed)
    digits = load_digits()
    images, labels = np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target
    order = random.permutation(len(images))
    found = {}
    for name, of, count in (("train", order[:1400], 2000), ("test", order[1400:], 500)):
        left = random.choice(of, count)
        alike = random.random(count) < 0.5
        right = np.array(
            [random.choice(of[(labels[of] == labels[one]) == same]) for one, same in zip(left, alike, strict=True)]
        )
        found |= {f"left_{name}": images[left], f"right_{name}": images[right], f"y_{name}": alike.astype(np.int64)}
    return found
