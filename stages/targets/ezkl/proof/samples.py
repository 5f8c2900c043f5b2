"""Read one input for a proof, as the data's contract stores samples: from an npz, a JSON file or an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract

VALUES = "values.json"
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
KEY = "x"


def write_values(folder: Path, contract: Contract, data: Path) -> None:
    """Write values.json: whether samples are black and white, as all calibration samples are, or not."""
    import numpy as np

    from recast.stages.common.dataset import read_stored

    stored, _ = read_stored(data, "calibration")
    binary = contract.stored_dtype == "uint8" and bool(np.isin(stored, (0, 255)).all())
    (folder / VALUES).write_text(json.dumps({"black_and_white": binary}) + "\n", encoding="utf-8")


def is_black_and_white(emitted: Path) -> bool:
    """What values.json says; StageError if it is missing or damaged."""
    try:
        return bool(json.loads((emitted / VALUES).read_text(encoding="utf-8"))["black_and_white"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"cannot read {emitted.name}/{VALUES}: {error}", "run emit again") from error


def black_and_white(sample: NDArray[Any], binarise: bool, name: str) -> NDArray[Any]:
    """The sample rounded to 0 and 255 as `data.binarise` does; StageError if it is to be, and is not."""
    import numpy as np

    if not binarise and not np.isin(sample, (0, 255)).all():
        raise StageError(
            f"{name} has shades of grey, and the network was trained on pixels that are 0 or 255",
            "round them: --binarise",
        )
    return np.where(sample >= 128, np.uint8(255), np.uint8(0))


def read(path: Path, contract: Contract) -> NDArray[Any]:
    """One sample as stored, of the contract's shape and dtype.

    An npz holds it as `x`; a JSON file is a list of numbers, nested or flat, or a table whose only entry is such a
    list; an image has the contract's height and width and is turned grey if it has one channel. Raises StageError for
    anything else: another shape, more than one sample, numbers that are not finite or not of the stored type.
    """
    import numpy as np

    if not path.is_file():
        raise StageError(f"there is no input file {path}", "give one that is there")
    if path.suffix.lower() == ".npz":
        array = _npz(path)
    elif path.suffix.lower() == ".json":
        array = _json(path)
    elif path.suffix.lower() in IMAGES:
        array = _image(path, contract)
    else:
        raise StageError(
            f"{path.name} is no npz, JSON file or image by its name", f"use .npz, .json or one of {', '.join(IMAGES)}"
        )
    if array.dtype.kind not in "iuf":
        raise StageError(f"{path.name} holds {array.dtype}, not numbers", "give numbers only")
    if array.shape not in (contract.shape, (1, *contract.shape), (int(np.prod(contract.shape)),)):
        raise StageError(
            f"{path.name} holds numbers of shape {array.shape}, and the network takes one sample of {contract.shape}",
            "give one sample, as the data stage stores it",
        )
    sample = array.reshape(contract.shape)
    if not np.isfinite(sample).all():
        raise StageError(f"{path.name} holds NaN or infinity", "give finite numbers")
    if np.dtype(contract.stored_dtype) == np.uint8:
        _check_pixels(sample, path.name)
    return sample.astype(contract.stored_dtype)


def _check_pixels(sample: NDArray[Any], name: str) -> None:
    if ((sample < 0) | (sample > 255) | (sample != sample.round())).any():
        raise StageError(
            f"{name} holds numbers that are no pixels", "give whole numbers from 0 to 255, before normalisation"
        )


def _npz(path: Path) -> NDArray[Any]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = list(arrays)
            if KEY not in names:
                raise StageError(
                    f"{path.name} holds no array '{KEY}' (it has: {', '.join(names) or 'none'})",
                    f"save it with np.savez({path.name!r}, {KEY}=...)",
                )
            array: NDArray[Any] = arrays[KEY]
    except StageError:
        raise
    # damage shows in whatever zipfile, zlib and numpy stumble over
    except Exception as error:
        raise StageError(f"cannot read {path.name}: {error}", "save it again with np.savez") from error
    return array


def _json(path: Path) -> NDArray[Any]:
    import numpy as np

    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StageError(f"cannot read {path.name}: {error}", "give a list of numbers as JSON") from error
    if isinstance(raw, dict):
        if len(raw) != 1:
            raise StageError(f"{path.name} is a table of {len(raw)} entries", "give one input, as a list of numbers")
        (raw,) = raw.values()
    try:
        array = np.array(raw)
    except ValueError as error:
        raise StageError(f"{path.name} holds lists of different lengths", "give one input") from error
    # [[...]] is how EZKL writes one flat input
    return array[0] if array.ndim == 2 and len(array) == 1 else array


def _image(path: Path, contract: Contract) -> NDArray[Any]:
    import numpy as np
    from PIL import Image

    if len(contract.shape) != 3 or contract.shape[0] not in (1, 3):
        raise StageError(f"the network takes samples of shape {contract.shape}, which no image has", "give an npz")
    channels, height, width = contract.shape
    try:
        with Image.open(path) as opened:
            if opened.size != (width, height):
                raise StageError(
                    f"{path.name} is {opened.size[0]} pixels wide and {opened.size[1]} high, and the network takes "
                    f"{width} and {height}",
                    "resize it as the data stage does, bilinear",
                )
            array = np.asarray(opened.convert("L" if channels == 1 else "RGB"))
    except StageError:
        raise
    # damage shows in whatever Pillow's readers stumble over
    except Exception as error:
        raise StageError(f"cannot read the image {path.name}: {error}", "give another, or an npz") from error
    return array[None] if channels == 1 else np.moveaxis(array, -1, 0)
