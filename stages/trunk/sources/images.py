"""Turn batches of images grey and into another size, the same on every machine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.base import StageError


def to_grayscale(x: NDArray[Any]) -> NDArray[Any]:
    """(N, 3, H, W) -> (N, 1, H, W), same dtype; (N, 1, H, W) unchanged; StageError for other channels.

    ITU-R 601-2 luma, with Pillow's rounding for uint8: L = (19595 R + 38470 G + 7471 B + 2^15) >> 16.
    """
    if x.shape[1] == 1:
        return x
    if x.shape[1] != 3:
        raise StageError(f"cannot turn images of {x.shape[1]} channels grey", "drop data.grayscale")
    red, green, blue = x[:, 0:1], x[:, 1:2], x[:, 2:3]
    if x.dtype == np.uint8:
        luma = 19595 * red.astype(np.uint32) + 38470 * green.astype(np.uint32) + 7471 * blue.astype(np.uint32)
        return ((luma + 0x8000) >> 16).astype(np.uint8)
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(red * weights[0] + green * weights[1] + blue * weights[2])


def resize(x: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """(N, C, H, W) uint8 or float32 -> (N, C, height, width), same dtype.

    Pillow's bilinear filter: half-pixel centres, and its support widened when an image shrinks, so
    that no pixel is skipped.
    """
    from PIL import Image

    if x.shape[2:] == (height, width):
        return x
    resized = np.empty((*x.shape[:2], height, width), x.dtype)
    for sample, image in enumerate(x):
        for channel, plane in enumerate(image):
            # a 2-D uint8 array is Pillow's mode L, a float32 one its mode F
            shrunk = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
            resized[sample, channel] = np.asarray(shrunk)
    return resized
