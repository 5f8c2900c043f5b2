"""Images of one to three balls, and their boxes on the grid of the detector."""

import numpy as np

SIDE, CELLS = 32, 4
CELL = SIDE // CELLS


def draw(images: int = 800, seed: int = 0) -> dict[str, np.ndarray]:
    """x uint8 (N, 32, 32); y float32 (N, 5, 4, 4), as models/balls.py has outputs, with 1 or 0 for the logit."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    x = np.empty((images, SIDE, SIDE), np.uint8)
    y = np.zeros((images, 5, CELLS, CELLS), np.float32)
    for image, boxes in zip(x, y, strict=True):
        bright = np.full((SIDE, SIDE), 60.0)
        for _ in range(random.integers(1, 4)):
            middle, radius = random.uniform(4, SIDE - 4, 2), random.uniform(2.5, 4)
            row, column = (middle // CELL).astype(int)
            if boxes[0, row, column]:
                continue  # a cell has one ball
            bright[(rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2] = 170
            boxes[:, row, column] = 1, *(middle / CELL - (row, column)), *[2 * radius / CELL] * 2
        image[:] = np.clip(bright + random.normal(0, 15, bright.shape), 0, 255)
    return {"x": x, "y": y}
