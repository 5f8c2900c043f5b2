# environment: serve
"""Images of requests: what a model that takes pictures is given of them, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from recast.stages.base import StageError
from recast.stages.serving import images


def encoded(array: np.ndarray, form: str = "PNG", **more: object) -> bytes:
    made = io.BytesIO()
    Image.fromarray(array).save(made, form, **more)
    return made.getvalue()


GREY = (np.arange(48).reshape(6, 8) * 5).astype(np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], 2)


def test_a_picture_of_the_models_size_is_taken_pixel_by_pixel():
    assert (images.read("image/png", encoded(GREY), (1, 6, 8)) == GREY[None]).all()
    assert (images.read("image/png", encoded(COLOUR), (3, 6, 8)) == COLOUR.transpose(2, 0, 1)).all()
    assert images.read("image/png", encoded(GREY), (3, 6, 8)).shape == (3, 6, 8)


def test_another_size_is_brought_to_it_as_data_resize_does():
    made = images.read("image/png", encoded(COLOUR), (3, 3, 4))
    planes = [
        np.asarray(Image.fromarray(COLOUR[:, :, channel]).resize((4, 3), Image.Resampling.BILINEAR))
        for channel in range(3)
    ]
    assert (made == np.stack(planes)).all()


def test_a_jpeg_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    wide = np.zeros((8, 16), np.uint8)
    wide[:, :8] = 255
    upright = images.read("image/jpeg", encoded(wide, "JPEG", exif=exif), (1, 16, 8))
    assert upright[0, :8].min() > 200 and upright[0, 8:].max() < 50


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)


def huge(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is this large."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return b"\x89PNG\r\n\x1a\n" + chunk


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("image/png", b"", "no PNG image"),
        ("image/png", b"\x89PNG nonsense", "no PNG image"),
        ("image/png", encoded(NOISE)[:-500], "no PNG image"),
        ("image/jpeg", encoded(GREY), "no JPEG image"),
        ("image/png", encoded(GREY, "JPEG"), "no PNG image"),
        ("image/png", encoded(GREY, "GIF"), "no PNG image"),
        ("image/png", huge(60_000, 60_000), "no PNG image"),
        ("image/png", encoded(np.zeros((4100, 4100), np.uint8)), "4100 x 4100 pixels, more than"),
    ],
    ids=["empty", "nonsense", "cut off", "PNG as JPEG", "JPEG as PNG", "GIF as PNG", "a bomb", "large"],
)
def test_what_is_no_image_or_too_large_is_refused(kind, body, said):
    with pytest.raises(StageError, match=said):
        images.read(kind, body, (1, 6, 8))


def test_which_models_take_pictures():
    model = {"shape": (3, 6, 8), "stored_dtype": "uint8"}
    assert images.takes_images(model)
    assert not images.takes_images({**model, "shape": (4, 6, 8)})
    assert not images.takes_images({**model, "shape": (8,)})
    assert not images.takes_images({**model, "stored_dtype": "float32"})
