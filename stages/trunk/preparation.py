"""How samples of one input are prepared: what a recipe may say of it, and what that makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt

from recast.stages.base import StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Input


def _not_zero(std: float | list[float]) -> float | list[float]:
    if any(value <= 0 for value in (std if isinstance(std, list) else [std])):
        raise ValueError("must be above 0: it is what samples are divided by")
    return std


PerChannel = FiniteFloat | Annotated[list[FiniteFloat], Field(min_length=1)]
Layout = Annotated[
    Literal["nchw", "nhwc", "ncl", "nlc"],
    Field(description="axes of samples in an npz: of images, or of signals (ncl: channels, then length)"),
]
Grayscale = Annotated[bool, Field(description="turn RGB images into one channel (ITU-R 601 luma)")]
Resize = Annotated[
    PositiveInt | tuple[PositiveInt, PositiveInt] | None,
    Field(description="height and width in pixels, bilinear; one number for a square"),
]
Binarise = Annotated[bool, Field(description="round pixels to black or white: 0 below 128, 255 from there on")]
Mean = Annotated[
    PerChannel,
    Field(description="input = (sample / 255 - mean) / std (floats: no 255); one number, or one per channel"),
]
Std = Annotated[PerChannel, AfterValidator(_not_zero), Field(description="see mean")]
Dtype = Annotated[
    Literal["float32", "float16", "uint8"] | None,
    Field(
        description="what the model takes: uint8 for bytes as they are; unset: float32 for bytes and floats, which are "
        "normalised, and other whole numbers as they are stored"
    ),
]


class Preparation(BaseModel):
    """Of one input."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: Layout = "nchw"
    grayscale: Grayscale = False
    resize: Resize = None
    binarise: Binarise = False
    mean: Mean = 0.0
    std: Std = 1.0
    dtype: Dtype = None

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width, if samples are resized."""
        return (self.resize, self.resize) if isinstance(self.resize, int) else self.resize


def prepare(x: NDArray[Any], preparation: Preparation, param: str) -> NDArray[Any]:
    """Samples (N, ...) in the size asked for, and grey or black and white if asked; `param`: where it was."""
    import numpy as np

    from recast.stages.trunk.sources.images import resize, to_grayscale

    size = preparation.size
    if x.ndim != 4 and (preparation.grayscale or size):
        given = [name for name, there in (("grayscale", preparation.grayscale), ("resize", size)) if there]
        raise StageError(
            f"samples of shape {x.shape[1:]} are not images",
            f"drop {' and '.join(f'{param}.{name}' for name in given)}",
            "save the samples as (N, C, H, W)",
        )
    if size:
        x = resize(x, *size)
    x = to_grayscale(x) if preparation.grayscale else x
    if preparation.binarise and x.dtype != np.uint8:
        raise StageError(
            f"samples of type {x.dtype} are not pixels, and {param}.binarise rounds pixels",
            f"drop {param}.binarise",
            "save the samples as uint8",
        )
    return np.where(x >= 128, np.uint8(255), np.uint8(0)) if preparation.binarise else x


def described(name: str, stored: NDArray[Any], preparation: Preparation, param: str) -> Input:
    """The contract's input of prepared samples; StageError for a preparation that does not fit them."""
    import numpy as np

    from recast.stages.common.dataset import Input

    kind, shape = stored.dtype, stored.shape[1:]
    is_float = kind == np.uint8 or kind.kind == "f"
    dtype = preparation.dtype or ("float32" if is_float else str(kind))
    if dtype == "uint8" and kind != np.uint8:
        raise StageError(
            f"samples are stored as {kind}, and {param}.dtype is uint8", f"drop {param}.dtype", "save them as uint8"
        )
    if not dtype.startswith("float") and (preparation.mean, preparation.std) != (0.0, 1.0):
        raise StageError(
            f"samples of type {kind} are given to the model as they are, and {param}.mean and {param}.std normalise",
            f"drop {param}.mean and {param}.std",
            "save the samples as uint8 or float32" if not is_float else f"drop {param}.dtype",
        )
    channels = shape[0] if shape else 1
    return Input(
        name=name,
        shape=shape,
        stored_dtype=str(kind),
        divisor=255.0 if kind == np.uint8 and dtype != "uint8" else 1.0,
        mean=_per_channel(preparation.mean, channels, f"{param}.mean"),
        std=_per_channel(preparation.std, channels, f"{param}.std"),
        dtype=dtype,
    )


def _per_channel(value: float | Sequence[float], channels: int, param: str) -> tuple[float, ...]:
    values = (value,) if isinstance(value, (int, float)) else tuple(value)
    if len(values) not in (1, channels):
        raise StageError(
            f"{param.partition('.')[2]} has {len(values)} values, but samples have {channels} channels",
            f"give {param} one value per channel",
        )
    return values
