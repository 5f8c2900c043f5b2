"""The form in which the `data` stage hands samples on, and how to read them.

A directory holds `<split>.npz` for the splits train, validation (may be absent), test and
calibration, each with `x` (N, *shape), uint8 or float32, and `y` (N,) int64, and `input.json`, the
input contract: how stored samples become the model's input.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.base import StageError

CONTRACT = "input.json"
SPLITS = ("train", "validation", "test", "calibration")
MADE_AGAIN = "run the recipe again, which makes it anew"


@dataclass(frozen=True)
class Contract:
    """What the model's input is: `(stored / divisor - mean) / std`, float32, of `shape` per sample.

    mean and std hold one number, or one per channel (first axis of `shape`).
    """

    dataset: str
    shape: tuple[int, ...]
    stored_dtype: str
    divisor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]

    def normalise(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Stored samples (N, *shape) -> the model's input, float32 (N, *shape)."""
        per_channel = (-1,) + (1,) * (len(self.shape) - 1)
        mean = np.asarray(self.mean, np.float32).reshape(per_channel)
        std = np.asarray(self.std, np.float32).reshape(per_channel)
        return (stored.astype(np.float32) / np.float32(self.divisor) - mean) / std

    def denormalised(self, normalised: NDArray[np.float32]) -> NDArray[np.float64]:
        """The values `normalise` made of stored samples (N, *shape), rounded if integers are stored, but not cut."""
        per_channel = (-1,) + (1,) * (len(self.shape) - 1)
        mean = np.asarray(self.mean, np.float64).reshape(per_channel)
        std = np.asarray(self.std, np.float64).reshape(per_channel)
        values: NDArray[np.float64] = (normalised.astype(np.float64) * std + mean) * self.divisor
        return np.round(values) if np.dtype(self.stored_dtype).kind in "iu" else values

    def stored(self, normalised: NDArray[np.float32]) -> NDArray[Any]:
        """What `normalise` made of stored samples (N, *shape), back as they are stored; exact for uint8."""
        stored: NDArray[Any] = self.denormalised(normalised).astype(self.stored_dtype)
        return stored

    def write(self, directory: Path) -> None:
        """Write `input.json` into the directory."""
        (directory / CONTRACT).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_contract(directory: Path) -> Contract:
    """The contract a `data` output (or an emitted folder) states; StageError if it is missing or damaged."""
    try:
        raw = json.loads((directory / CONTRACT).read_text(encoding="utf-8"))
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
        known = {field.name for field in dataclass_fields(Contract)}
        # an emitted folder may say more of its model
        return Contract(**{key: value for key, value in fields.items() if key in known})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StageError(f"cannot read the input contract {directory.name}/{CONTRACT}: {error}", MADE_AGAIN) from error


def read_stored(directory: Path, split: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """x as stored (N, *shape) and y (N,) of one split; StageError if there is none."""
    path = directory / f"{split}.npz"
    try:
        # allow_pickle stays off: an npz may not run code
        with np.load(path, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except MemoryError:
        raise
    # damage shows in whatever zipfile and numpy stumble over
    except Exception as error:
        raise StageError(f"cannot read the {split} samples from {path.name}: {error}", MADE_AGAIN) from error
    if len(x) != len(y):
        raise StageError(f"{path.name} holds {len(x)} samples and {len(y)} labels", MADE_AGAIN)
    return x, y


def read(directory: Path, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """x normalised, float32 (N, *shape), and y (N,) of one split.

    Raises StageError if the split is missing, empty or holds a NaN or an infinity.
    """
    x, y = read_stored(directory, split)
    if not len(x):
        raise StageError(f"the {split} split is empty", MADE_AGAIN)
    samples = read_contract(directory).normalise(x)
    finite = np.isfinite(samples).reshape(len(x), -1).all(1)
    if not finite.all():
        raise StageError(
            f"the {split} samples hold NaN or infinity (first at sample {int(np.argmin(finite))})",
            "mend or drop those samples at data.path",
            "set data.mean and data.std so that no sample overflows",
        )
    return samples, y
