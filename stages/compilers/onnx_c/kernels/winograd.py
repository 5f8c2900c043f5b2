"""Whether Winograd's convolution may take the place of the direct one: its error, measured on these very weights.

The transforms here are those of winograd_transforms.h, worked in float32 as the kernel does, and in float64 with
the definition of convolution as the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]

TILES = 24  # random tiles of the input the error is measured on
# of the largest output: 84 units in the last place of float32. The direct convolution's own error, with hundreds of
# products in a sum, is up to 10 of them.
LIMIT = 1e-5


def relative_error(weights: Array, tile: int) -> float:
    """Largest error on random normal input (fixed seed), over the largest output; in float32 against float64."""
    import numpy as np

    side = tile + 2
    patches = np.random.default_rng(0).normal(size=(TILES, weights.shape[1], side, side)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(patches.astype(np.float64), (3, 3), (2, 3))
    exact = np.einsum("nchwij,ocij->nohw", windows, weights.astype(np.float64), optimize=True)
    kernel, data, output = (matrix.astype(np.float32) for matrix in matrices(tile))
    transformed = kernel @ weights.astype(np.float32) @ kernel.T
    inputs = data @ patches @ data.T
    # one matrix product per position, as in the kernel
    products = np.einsum(
        "ncp,ocp->nop", inputs.reshape(TILES, -1, side**2), transformed.reshape(*weights.shape[:2], -1)
    )
    result = output @ products.reshape(TILES, -1, side, side) @ output.T
    largest = np.abs(exact).max()
    return float(np.abs(result - exact).max() / largest) if largest else 0.0


def matrices(tile: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The transforms of kernel (n, 3), data (n, n) and output (tile, n), n = tile + 2, in the order of the kernel."""
    import numpy as np

    if tile == 2:
        kernel = [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]
        differences = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]
        return np.array(kernel), np.array(differences), np.array([[1, 1, 1, 0], [0, 1, -1, 1]])
    half, two = 0.5**0.5, 2**0.5
    points = [half, -half, two, -two]
    scales = [-1.5, -1.5, 6, 6]
    kernel = [[1, 0, 0], *([1 / n, p / n, p * p / n] for p, n in zip(points, scales, strict=True)), [0, 0, 1]]
    # x (x - other points): the other pair's square, with the sign of this point
    others = [2.0, 2.0, 0.5, 0.5]
    rows = [[0, -p * o, -o, p, 1.0, 0] for p, o in zip(points, others, strict=True)]
    data = [[1, 0, -2.5, 0, 1, 0], *rows, [0, 1, 0, -2.5, 0, 1]]
    output = [[float(k == 0), *(p**k for p in points), float(k == 3)] for k in range(4)]
    return np.array(kernel), np.array(data), np.array(output)
