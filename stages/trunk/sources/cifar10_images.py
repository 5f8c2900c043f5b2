"""A hundred test images of CIFAR-10 as PNG files, ten a class, as Scailable's tutorial on ResNet-20 ships them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recast.stages.base import StageError
from recast.stages.trunk.sources import Source
from recast.stages.trunk.sources.image_folder import read_pixels

FOLDER = "cifar10-resnet20/images"
ORIGIN = "sclbl-pytorch-onnx/resources/cifar of github.com/scailable/sclbl-tutorials"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""in the order of CIFAR-10's labels"""
PER_CLASS = 10


def read(roots: Sequence[Path]) -> Source:
    """uint8 (100, 3, 32, 32) by class and number, from `FOLDER` below the first root that has it; no test split.

    StageError if no root has it, or an image is missing, damaged or of another size.
    """
    folder = next((root / FOLDER for root in roots if (root / FOLDER).is_dir()), None)
    if folder is None:
        raise StageError(
            f"cifar10_images is in no data root ({', '.join(str(root) for root in roots) or 'none is set'})",
            f"put {ORIGIN} below a data root, as {FOLDER}",
        )
    x, y = [], []
    for label, name in enumerate(CLASSES):
        for number in range(1, PER_CLASS + 1):
            file = folder / f"{name}{number}.png"
            if not file.is_file():
                raise StageError(f"{FOLDER}/{file.name} is missing", "put all hundred images there")
            pixels = read_pixels(file, f"{FOLDER}/{file.name}")
            if pixels.shape != (3, 32, 32):
                raise StageError(f"{FOLDER}/{file.name} is no RGB image of 32x32 pixels", "put the original there")
            x.append(pixels)
            y.append(label)
    return Source(np.stack(x), np.array(y, np.int64), None, None, CLASSES)
