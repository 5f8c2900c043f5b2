"""A folder of images, one folder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.base import StageError, progress
from stages.sources import Source

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff")
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Pillow's modes whose pixels fit uint8 without loss"""


def read(path: Path, shown: str, size: tuple[int, int] | None) -> Source:
    """`<path>/<class>/<image>`, or that below `train/` and `test/`; classes are the sorted folder names.

    Images become uint8, of one channel if all are grey, else RGB; transparency is dropped and a
    photograph's EXIF rotation applied. `size` (height, width) resizes each as it is read. StageError if a
    folder is absent or empty, an image is damaged or has more than 8 bits per channel, or sizes differ
    while there is no `size`.
    """
    if not path.is_dir():
        raise StageError(
            f"there is no folder {shown}", "create it with one folder of images per class, or mend data.path"
        )
    folders = _folders(path)
    if "train" not in folders or "test" not in folders:
        x, y = _images(path, shown, folders, size)
        return Source(x, y, None, None, tuple(folders))
    others = [name for name in folders if name not in ("train", "test")]
    if others:
        raise StageError(
            f"{shown} holds {others[0]}/ beside train/ and test/",
            "move its images into train/, from which data.validation_fraction is split off",
        )
    classes, test_classes = _folders(path / "train"), _folders(path / "test")
    if classes != test_classes:
        odd = sorted(set(classes) ^ set(test_classes))[0]
        raise StageError(f"{shown}: class {odd} is in only one of train/ and test/", "give both the same class folders")
    files = [_images(path / split, f"{shown}/{split}", classes, size) for split in ("train", "test")]
    (x, y), (x_test, y_test) = files
    if x.shape[1] != x_test.shape[1]:  # grey in one, colour in the other
        x, x_test = (np.repeat(part, 3, axis=1) if part.shape[1] == 1 else part for part in (x, x_test))
    if x.shape[1:] != x_test.shape[1:]:
        raise StageError(
            f"{shown}: images are {x.shape[2:]} pixels high and wide in train/, {x_test.shape[2:]} in test/",
            "set data.resize",
        )
    return Source(x, y, x_test, y_test, tuple(classes))


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(
    path: Path, shown: str, classes: list[str], size: tuple[int, int] | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 (N, C, H, W) and labels of the images below `path`, by class and then by name."""
    from stages.images import resize

    if len(classes) < 2:
        held = f"only the class folder {classes[0]}/" if classes else "no class folders"
        raise StageError(f"{shown} holds {held}", "give at least two folders of images, one per class")
    planes: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    names: list[str] = []
    for label, name in enumerate(classes):
        files = sorted(
            file for file in (path / name).iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."
        )
        if not files:
            raise StageError(
                f"{shown}/{name} holds no images", f"add some ({', '.join(IMAGE_SUFFIXES)}), or remove the folder"
            )
        progress(f"reading {shown}/{name}  {len(files)} images", label, len(classes))
        for file in files:
            pixels = read_pixels(file, f"{shown}/{name}/{file.name}")
            planes.append(resize(pixels[None], *size)[0] if size else pixels)
            names.append(f"{name}/{file.name}")
            labels.append(label)
    if any(len(image) == 3 for image in planes):  # grey ones among colour
        planes = [np.repeat(image, 3, axis=0) if len(image) == 1 else image for image in planes]
    for image, name in zip(planes, names, strict=True):
        if image.shape != planes[0].shape:
            height, width = planes[0].shape[1:]
            raise StageError(
                f"{shown}: {names[0]} is {height}x{width} pixels, {name} {image.shape[1]}x{image.shape[2]}",
                "set data.resize to bring all images to one size",
            )
    return np.stack(planes), np.array(labels, np.int64)


def read_pixels(file: Path, shown: str) -> NDArray[np.uint8]:
    """uint8 (1, H, W) of a grey image, (3, H, W) of another."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            mode = image.mode
            if mode in EIGHT_BIT_MODES:
                upright = ImageOps.exif_transpose(image)
                decoded = np.asarray(upright.convert("L" if mode in ("1", "L", "LA") else "RGB"))
    # damage shows in whatever Pillow's readers stumble over
    except Exception as error:
        raise StageError(f"cannot read the image {shown}: it is damaged or no image", "replace or remove it") from error
    if mode not in EIGHT_BIT_MODES:
        raise StageError(f"{shown} has Pillow's mode {mode}, not 8 bits per channel", "save it as 8-bit grey or RGB")
    return decoded[None] if decoded.ndim == 2 else decoded.transpose(2, 0, 1)
