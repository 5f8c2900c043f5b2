"""An image of a request, PNG or JPEG, as one sample of a model that takes images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = {"image/png": "PNG", "image/jpeg": "JPEG"}
MOST_PIXELS = 2**24
"""of an image that is read; a few bytes may say that they are any number of them"""


def takes_images(model: dict[str, Any]) -> bool:
    """Whether a model that says this of itself takes pictures: bytes of one or three channels (C, H, W)."""
    shape: Sequence[int] = model.get("shape", ())
    return len(shape) == 3 and shape[0] in (1, 3) and model.get("stored_dtype") == "uint8"


def read(kind: str, body: bytes, shape: Sequence[int]) -> NDArray[Any]:
    """The image as int64 (C, H, W), 0 to 255, of that shape: grey or RGB, upright, and resized as `data.resize` does.

    By Pillow's bilinear filter, its sides not kept in proportion. Raises StageError for what is no such image, and for
    one of more than MOST_PIXELS pixels.
    """
    import numpy as np
    from PIL import Image, ImageOps

    form = KINDS[kind]
    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(body), formats=[form]) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                size = f"{opened.width} x {opened.height}"
                raise StageError(f"the image has {size} pixels, more than {MOST_PIXELS}", "send a smaller one")
            image = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
    except StageError:
        raise
    # decoders raise whatever they stumble over
    except Exception as error:
        raise StageError(
            f"the body is no {form} image", "send one whole, under the Content-Type that it has"
        ) from error
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized).astype(np.int64)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
