"""A folder of images: one folder per class, or with a mask for each image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.base import StageError, note, progress
from recast.stages.trunk.sources import Source
from recast.stages.trunk.sources.spilled import Pile, Rows, stacked

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff")
LARGE, MOST_PER_BYTE = 2**22, 20_000
"""pixels: of an image above the first, a byte holds fewer than the second; those of a blank fax hold nearly as many"""
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Pillow's modes whose pixels fit uint8 without loss"""
OWN_SPLITS = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "calibration": "calibration",
    "test": "test",
}
"""folder -> the split that it is"""
Size = tuple[int, int]


@dataclass
class _Found:
    """Images as they are read, and what was left out."""

    size: Size | None
    skips_damaged: bool
    pile: Pile
    """of their pixels, uint8 (C, H, W) each"""
    names: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def take(self, file: Path, root: Path, shown: str, label: Any, split: str) -> None:
        """An image below `root`, which is called `shown`."""
        from recast.stages.trunk.sources.images import resize

        name = file.relative_to(root).as_posix()
        try:
            pixels = read_pixels(file, f"{shown}/{name}")
        except StageError:
            if not self.skips_damaged:
                raise
            self.skipped["damaged images"] += 1
            return
        self.pile.append(resize(pixels[None], *self.size)[0] if self.size else pixels)
        self.names.append(name)
        self.labels.append(label)
        self.splits.append(split)


def read(
    path: Path,
    shown: str,
    size: Size | None,
    masks: tuple[Path, str] | None = None,
    skips_damaged: bool = False,
    *,
    scratch: Path,
) -> Source:
    """`<path>/<class>/.../<image>`, or that below `train/`, `test/` and others of `OWN_SPLITS`.

    Classes are the sorted names of folders; folders in these are looked into. With `masks`, a folder and how it is
    called, there are no classes: every image has a mask there of the same path but for the suffix, whose pixels are its
    labels. Images become uint8, of one channel if all are grey, else RGB; transparency is dropped and a photograph's
    EXIF rotation applied. `size` (height, width) resizes each as it is read. What is no image, and with `skips_damaged`
    what cannot be read, is left out and counted. Pixels lie in `scratch` where they
    are many. StageError if a folder is absent or empty, an image is damaged or has more than 8 bits per channel, or
    sizes differ while there is no `size`.
    """
    if not path.is_dir():
        remedy = "create it with one folder of images per class, or mend data.path"
        raise StageError(f"there is no folder {shown}", remedy)
    folders = _folders(path)
    has_own = {"train", "test"} <= set(folders)
    others = [name for name in folders if name not in OWN_SPLITS]
    if has_own and others:
        raise StageError(
            f"{shown} holds {others[0]}/ beside train/ and test/",
            f"move its images into train/, or into one of {', '.join(OWN_SPLITS)}",
        )
    found = _Found(size, skips_damaged, Pile(scratch / "pixels", np.uint8))
    if masks is not None:
        _with_masks(path, shown, masks, folders if has_own else [], found)
        classes: tuple[str, ...] = ()
    elif has_own:
        classes = _class_folders(path / "train", f"{shown}/train")
        for folder in folders:
            # a small split of one's own need not hold every class
            there = _folders(path / folder)
            odd = sorted(set(there) - set(classes)) or (sorted(set(classes) ^ set(there)) if folder == "test" else [])
            if odd:
                raise StageError(
                    f"{shown}: class {odd[0]} is in only one of train/ and {folder}/",
                    "give both the same class folders",
                )
            _by_class(path / folder, f"{shown}/{folder}", classes, OWN_SPLITS[folder], found)
    else:
        classes = _class_folders(path, shown)
        _by_class(path, shown, classes, "", found)
    return _source(found, shown, classes, has_own, scratch)


def _source(found: _Found, shown: str, classes: tuple[str, ...], has_own: bool, scratch: Path) -> Source:
    if not len(found.pile):
        raise StageError(f"{shown}: no image could be read", "replace them")
    if found.skipped:
        said = ", ".join(f"{count} {what}" for what, count in sorted(found.skipped.items()))
        note(f"{shown}: left out {said}")
    x = _stacked(found, shown, scratch)
    y = np.array(found.labels, np.int64) if classes else _masks(found.labels, shown)
    if not has_own:
        return Source(x, y, None, None, classes, skipped=dict(found.skipped))
    split = np.array(found.splits)
    kept, held = np.flatnonzero(split != "test"), np.flatnonzero(split == "test")
    own = split[kept] if {"validation", "calibration"} & set(found.splits) else None
    return Source(Rows(x, kept), y[kept], Rows(x, held), y[held], classes, own, skipped=dict(found.skipped))


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _class_folders(path: Path, shown: str) -> tuple[str, ...]:
    classes = _folders(path)
    if len(classes) < 2:
        held = f"only the class folder {classes[0]}/" if classes else "no class folders"
        raise StageError(f"{shown} holds {held}", "give at least two folders of images, one per class")
    return tuple(classes)


def _by_class(path: Path, shown: str, classes: Iterable[str], split: str, found: _Found) -> None:
    """Take the images below `path`, by class and then by path."""
    classes = list(classes)
    _count_others((file for file in path.iterdir() if file.is_file()), found, "files in no class folder")
    for label, name in enumerate(classes):
        if not (path / name).is_dir():
            continue
        files = _images_below(path / name, found)
        if not files:
            raise StageError(
                f"{shown}/{name} holds no images", f"add some ({', '.join(IMAGE_SUFFIXES)}), or remove the folder"
            )
        if len(files) == 1:
            note(f"{shown}: class {name} has one image alone, which only one split can hold")
        progress(f"reading {shown}/{name}  {len(files)} images", label, len(classes))
        for file in files:
            found.take(file, path, shown, label, split)


def _images_below(path: Path, found: _Found) -> list[Path]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    images = [file for file in files if _is_image(file.relative_to(path))]
    _count_others(set(files).difference(images), found)
    return images


def _is_image(relative: Path) -> bool:
    return relative.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith(".") for part in relative.parts)


def _count_others(files: Iterable[Path], found: _Found, what: str = "") -> None:
    for file in files:
        hidden = any(part.startswith(".") for part in file.parts[-2:])
        kind = "hidden files" if hidden else what or f"{file.suffix.lower() or 'nameless'} files"
        found.skipped[kind] += 1


def _stacked(found: _Found, shown: str, scratch: Path) -> NDArray[np.uint8]:
    """uint8 (N, C, H, W)."""
    pile = found.pile
    channels = max(shape[0] for shape in pile.shapes)
    for shape, name in zip(pile.shapes, found.names, strict=True):
        if shape[1:] != pile.shapes[0][1:]:
            height, width = pile.shapes[0][1:]
            raise StageError(
                f"{shown}: {found.names[0]} is {height}x{width} pixels, {name} {shape[1]}x{shape[2]}",
                "set data.resize to bring all images to one size",
            )

    def pixels(number: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = pile[number]
        return image if len(image) == channels else np.repeat(image, channels, axis=0)  # grey ones among colour

    made = stacked(len(pile), pixels, scratch / "images.npy", shown)
    pile.close()
    return made


def _with_masks(path: Path, shown: str, masks: tuple[Path, str], own: list[str], found: _Found) -> None:
    """Take every image below `path`, its mask in place of a label."""
    folder, masks_shown = masks
    if not folder.is_dir():
        raise StageError(f"there is no folder {masks_shown}", "create it, or mend data.masks")
    images = [file for file in _images_below(path, found) if not file.is_relative_to(folder)]
    if not images:
        raise StageError(f"{shown} holds no images", f"add some ({', '.join(IMAGE_SUFFIXES)}), or mend data.path")
    below = [file for file in sorted(folder.rglob("*")) if _is_image(file.relative_to(folder))]
    there = {file.relative_to(folder).with_suffix(""): file for file in below}
    lacking = [file for file in images if file.relative_to(path).with_suffix("") not in there]
    if lacking:
        raise StageError(
            f"{len(lacking)} of {len(images)} images have no mask in {masks_shown}, first "
            f"{lacking[0].relative_to(path).as_posix()}",
            "give each image a mask of the same name, in the same folders",
        )
    for number, file in enumerate(images):
        if number % 100 == 0:
            progress(f"reading {shown}", number, len(images))
        relative = file.relative_to(path)
        mask = there[relative.with_suffix("")]
        before = len(found.pile)
        found.take(file, path, shown, None, OWN_SPLITS[relative.parts[0]] if own else "")
        if len(found.pile) > before:
            mask_shown = f"{masks_shown}/{mask.relative_to(folder).as_posix()}"
            found.labels[-1] = _read_mask(mask, mask_shown, found.size, found.pile.shapes[-1][1:])


def _read_mask(file: Path, shown: str, size: Size | None, of_image: tuple[int, ...]) -> NDArray[np.uint8]:
    """uint8 (H, W): numbers of classes, those of a palette's entries too."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            mode = image.mode
            if size and mode in ("1", "L", "P"):
                image = image.resize((size[1], size[0]), Image.Resampling.NEAREST)
            values = np.asarray(image)
    except Exception as error:
        raise StageError(f"cannot read the mask {shown}: it is damaged or no image", "replace or remove it") from error
    if mode not in ("1", "L", "P"):
        raise StageError(
            f"the mask {shown} has Pillow's mode {mode}, and its pixels are no numbers of classes",
            "save it as an 8-bit grey image, or one with a palette",
        )
    if values.shape != tuple(of_image):
        raise StageError(
            f"the mask {shown} is {values.shape[0]}x{values.shape[1]} pixels, its image {of_image[0]}x{of_image[1]}",
            "make them one size",
            "set data.resize",
        )
    return values.astype(np.uint8)


def _masks(labels: list[NDArray[np.uint8]], shown: str) -> NDArray[np.int64]:
    """(N, H, W); black and white become classes 0 and 1."""
    found = np.stack(labels).astype(np.int64)
    if set(np.unique(found).tolist()) == {0, 255}:
        note(f"{shown}: masks hold 0 and 255, which are taken for classes 0 and 1")
        found //= 255
    return found


def read_pixels(file: Path, shown: str) -> NDArray[np.uint8]:
    """uint8 (1, H, W) of a grey image, (3, H, W) of another."""
    from PIL import Image, ImageOps

    if not file.is_file():
        raise StageError(f"{shown} is not a plain file", "remove it, or put the image itself there")
    try:
        with Image.open(file) as image:
            mode = image.mode
            _refuse_swollen(image.size, file.stat().st_size, shown)
            if mode in EIGHT_BIT_MODES:
                upright = ImageOps.exif_transpose(image)
                decoded = np.asarray(upright.convert("L" if mode in ("1", "L", "LA") else "RGB"))
    except Image.DecompressionBombError as error:
        raise StageError(
            f"{shown} says that it has more pixels than an image may: {error}", "make it smaller"
        ) from error
    except StageError:
        raise
    # damage shows in whatever Pillow's readers stumble over
    except Exception as error:
        raise StageError(f"cannot read the image {shown}: it is damaged or no image", "replace or remove it") from error
    if mode in EIGHT_BIT_MODES and not decoded.size:
        raise StageError(f"{shown} has no pixels", "replace or remove it")
    if mode not in EIGHT_BIT_MODES:
        raise StageError(f"{shown} has Pillow's mode {mode}, not 8 bits per channel", "save it as 8-bit grey or RGB")
    return decoded[None] if decoded.ndim == 2 else decoded.transpose(2, 0, 1)


def _refuse_swollen(size: tuple[int, int], file_bytes: int, shown: str) -> None:
    """StageError for a few bytes that say they are a huge image: to decode them takes long, and makes nothing."""
    pixels = size[0] * size[1]
    if pixels > LARGE and pixels > MOST_PER_BYTE * file_bytes:
        raise StageError(
            f"{shown} says that {file_bytes} bytes are {size[0]}x{size[1]} pixels: it is damaged",
            "replace or remove it",
        )
