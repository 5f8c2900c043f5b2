"""Images of a disc and a square, and the class of each pixel."""

import numpy as np

SIDE, GROUND, DISC, SQUARE = 32, 0, 1, 2


def draw(images: int = 300, seed: int = 0) -> dict[str, np.ndarray]:
    """x uint8 (N, 32, 32), grey; y (N, 32, 32), the class of each pixel; the names of the classes."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    x = np.empty((images, SIDE, SIDE), np.uint8)
    y = np.zeros((images, SIDE, SIDE), np.int64)
    for image, label in zip(x, y, strict=True):
        top, left = random.integers(0, SIDE - 10, 2)
        side = random.integers(7, 11)
        label[top : top + side, left : left + side] = SQUARE
        row, column, radius = *random.integers(6, SIDE - 6, 2), random.uniform(4, 6)
        label[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = DISC
        bright = random.normal([60, 150, 150], 10)[label]
        image[:] = np.clip(bright + random.normal(0, 12, label.shape), 0, 255)
    return {"x": x, "y": y, "classes": np.array(["ground", "disc", "square"])}
