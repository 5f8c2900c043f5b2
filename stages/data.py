"""Read a dataset, split it, and hand it on as arrays with the input contract (`stages/dataset.py`).

Writes train.npz, validation.npz (unless validation_fraction is 0), test.npz, calibration.npz and
input.json. The samples of a split lie in an order fixed by the seed, classes mixed, so the first few
of a split are a fair sample of it. Nothing is normalised here: uint8 stays uint8.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat, PositiveInt, ValidationInfo, field_validator, model_validator

from stages.base import Inputs, Metrics, Params, RepositoryPath, Stage, StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.sources import Source

KNOWN_SHA256 = {
    "digits": "4762797d5258adf159cb47b90648706ca1fdc489e3ad64710e18636c2f2db4db",
    "cifar10_images": "6a457960ffd7329bc24612abbd03ce3c25437617d06d588b2c73d9fb59666bfa",
}
"""SHA-256 of the decoded arrays (`_identity`), measured with scikit-learn 1.9.1 and torchvision 0.28.0"""


ORIGINAL = {
    "digits": "build the environment of scikit-learn again: 'recast env build torch'",
    "cifar10_images": "put the original images there",
}
"""how to have the samples again of which KNOWN_SHA256 tells"""


def _not_zero(std: float | list[float]) -> float | list[float]:
    if any(value <= 0 for value in (std if isinstance(std, list) else [std])):
        raise ValueError("must be above 0: it is what samples are divided by")
    return std


CHANNELS = {"digits": 1, "mnist": 1, "fashion_mnist": 1, "cifar10": 3, "cifar10_images": 3}
"""dataset -> channels of its samples; those of image_folder and npz are not known before they are read"""
PerChannel = FiniteFloat | Annotated[list[FiniteFloat], Field(min_length=1)]


CALIBRATION_SAMPLES = 512
"""taken where the recipe names no number and there are enough"""


class DataParams(Params):
    """Which samples, and how they become the model's input."""

    dataset: Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar10_images", "image_folder", "npz"] = Field(
        description="a known dataset, or one of your own: image_folder or npz, at `path`"
    )
    path: RepositoryPath | None = Field(default=None, description="the folder of image_folder, or the file of npz")
    layout: Literal["nchw", "nhwc", "ncl", "nlc"] = Field(
        default="nchw", description="axes of samples in an npz: of images, or of signals (ncl: channels, then length)"
    )
    grayscale: bool = Field(default=False, description="turn RGB images into one channel (ITU-R 601 luma)")
    resize: PositiveInt | tuple[PositiveInt, PositiveInt] | None = Field(
        default=None, description="height and width in pixels, bilinear; one number for a square"
    )
    binarise: bool = Field(default=False, description="round pixels to black or white: 0 below 128, 255 from there on")
    mean: PerChannel = Field(
        default=0.0, description="input = (sample / 255 - mean) / std (floats: no 255); one number, or one per channel"
    )
    std: Annotated[PerChannel, AfterValidator(_not_zero)] = Field(default=1.0, description="see mean")
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="share held out for test, where the dataset has no test split of its own"
    )
    validation_fraction: float = Field(default=0.1, ge=0, lt=1, description="share of train held out for validation")
    train_samples: PositiveInt | None = Field(
        default=None, description="train samples kept, before validation is split off; unset keeps all"
    )
    test_samples: PositiveInt | None = Field(default=None, description="test samples kept; unset keeps all")
    calibration_samples: PositiveInt | None = Field(
        default=None, description="train samples also written for calibration; unset: 512, or all where there are fewer"
    )
    seed: int = Field(default=0, ge=0, description="seed of splits, limits and order")

    @field_validator("mean", "std")
    @classmethod
    def _fits(cls, value: float | list[float], info: ValidationInfo) -> float | list[float]:
        """One value, or one per channel, as far as the channels are known; `_per_channel` sees to the rest."""
        dataset, grayscale = info.data.get("dataset"), info.data.get("grayscale", False)
        channels = 1 if grayscale else CHANNELS.get(str(dataset))
        if isinstance(value, list) and channels is not None and len(value) not in (1, channels):
            of = f"{dataset} in grey has" if grayscale else f"{dataset} has"
            have = "1 channel" if channels == 1 else f"{channels} channels"
            raise ValueError(f"has {len(value)} values, but {of} {have}; give one value, or one per channel")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> DataParams:
        own = self.dataset in ("image_folder", "npz")
        if own and self.path is None:
            raise ValueError(f"dataset {self.dataset} needs a `path` in the repository")
        if not own and self.path is not None:
            raise ValueError(f"dataset {self.dataset} takes no `path`: drop it, or use image_folder or npz")
        if self.dataset != "npz" and self.layout != "nchw":
            raise ValueError("`layout` is for npz; other datasets know theirs")
        return self


def run(params: DataParams, inputs: Inputs, out: Path) -> Metrics:
    """Read, check, split and write.

    Raises StageError for data that is absent, damaged or malformed, each naming what was found, and
    for counts, fractions or per-channel values that do not fit it.
    """
    import numpy as np

    from stages.dataset import Contract

    source = _read(params, inputs)
    sha256 = _identity(source)
    if KNOWN_SHA256.get(params.dataset, sha256) != sha256:
        raise StageError(
            f"{params.dataset} is not the dataset this pipeline knows: SHA-256 {sha256}, expected "
            f"{KNOWN_SHA256[params.dataset]}",
            ORIGINAL[params.dataset],
        )

    # each purpose draws from its own stream, so that changing one leaves the others as they were
    streams = [np.random.default_rng([params.seed, purpose]) for purpose in range(5)]
    x, y, x_test, y_test = source.x, source.y, source.x_test, source.y_test
    if x_test is None or y_test is None:
        held_out = _pick(y, _share(params.test_fraction, len(y), "test"), streams[0])
        x, y, x_test, y_test = _without(x, held_out), _without(y, held_out), x[held_out], y[held_out]
    kept = _pick(y_test, _limit(params.test_samples, len(y_test), "test"), streams[1])
    x_test, y_test = x_test[kept], y_test[kept]
    kept = _pick(y, _limit(params.train_samples, len(y), "train"), streams[2])
    x, y = x[kept], y[kept]
    splits = {"test": (x_test, y_test)}
    if params.validation_fraction:
        held_out = _pick(y, _share(params.validation_fraction, len(y), "validation"), streams[3])
        splits["validation"] = (x[held_out], y[held_out])
        x, y = _without(x, held_out), _without(y, held_out)
    absent = sorted(set(range(len(source.classes))) - {int(label) for label in np.unique(y)})
    if absent:
        raise StageError(
            f"no train sample is left of class {source.classes[absent[0]]}",
            "give more samples of it",
            "raise data.train_samples" if params.train_samples else "",
            "lower data.validation_fraction" if params.validation_fraction else "",
            "lower data.test_fraction" if source.x_test is None else "",
        )
    wanted = params.calibration_samples or min(CALIBRATION_SAMPLES, len(y))
    chosen = _pick(y, _limit(wanted, len(y), "calibration"), streams[4])
    splits |= {"train": (x, y), "calibration": (x[chosen], y[chosen])}

    # prepared after the split: limits spare work
    prepared = {name: (_prepared(samples, params), labels) for name, (samples, labels) in splits.items()}
    shape = prepared["train"][0].shape[1:]
    contract = Contract(
        dataset=params.dataset,
        shape=shape,
        stored_dtype=str(x.dtype),
        divisor=255.0 if x.dtype == np.uint8 else 1.0,
        mean=_per_channel(params.mean, shape[0], "mean"),
        std=_per_channel(params.std, shape[0], "std"),
        classes=source.classes,
    )
    contract.write(out)
    for name, (samples, labels) in prepared.items():
        # savez: every entry carries the date 1980-01-01, so bytes depend on the arrays alone; and uncompressed,
        # since compressed bytes differ between versions of zlib
        np.savez(out / f"{name}.npz", x=np.ascontiguousarray(samples), y=labels.astype(np.int64))
    return {
        "dataset": params.dataset,
        "sha256": sha256,
        "shape": list(shape),
        "classes": len(source.classes),
        **{f"{name}_samples": len(labels) for name, (_, labels) in sorted(prepared.items())},
    }


def _read(params: DataParams, inputs: Inputs) -> Source:
    from stages.sources import cifar10_images, digits, image_folder, npz_file, torchvision_files

    if params.dataset == "digits":
        return digits.read()
    if params.dataset == "cifar10_images":
        return cifar10_images.read(inputs.data_roots)
    if params.dataset == "npz":
        return npz_file.read(inputs.files["path"], str(params.path), params.layout)
    if params.dataset == "image_folder":
        return image_folder.read(inputs.files["path"], str(params.path), _size(params))
    return torchvision_files.read(params.dataset, inputs.data_roots, inputs.scratch)


def _size(params: DataParams) -> tuple[int, int] | None:
    return (params.resize, params.resize) if isinstance(params.resize, int) else params.resize


def _identity(source: Source) -> str:
    """SHA-256 over dtype, shape and bytes of x, y and, where there are any, x_test and y_test, as read."""
    import hashlib

    import numpy as np

    digest = hashlib.sha256()
    for array in (source.x, source.y, source.x_test, source.y_test):
        if array is not None:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _pick(labels: NDArray[Any], count: int, stream: np.random.Generator) -> NDArray[np.intp]:
    """`count` indices in random order, every class in its proportion to within one sample."""
    import numpy as np

    shuffled = stream.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    # evenly spaced over samples sorted by class, at random within each class
    spaced = ((np.arange(count) + 0.5) * len(labels) / count).astype(np.intp)
    return stream.permutation(by_class[spaced])


def _without(array: NDArray[Any], indices: NDArray[np.intp]) -> NDArray[Any]:
    import numpy as np

    kept = np.ones(len(array), bool)
    kept[indices] = False
    return array[kept]


def _share(fraction: float, samples: int, split: str) -> int:
    count = round(fraction * samples)
    if not 0 < count < samples:
        raise StageError(
            f"{split}_fraction {fraction:g} of {samples} samples is {count}, which leaves {samples - count} for train",
            f"change data.{split}_fraction",
            "give more samples",
        )
    return count


def _limit(wanted: int | None, samples: int, split: str) -> int:
    if wanted is not None and wanted > samples:
        raise StageError(
            f"{split}_samples is {wanted}, but there are {samples} {'test' if split == 'test' else 'train'} samples",
            f"set data.{split}_samples to at most {samples}",
        )
    return samples if wanted is None else wanted


def _per_channel(value: float | list[float], channels: int, name: str) -> tuple[float, ...]:
    values = (value,) if isinstance(value, float) else tuple(value)
    if len(values) not in (1, channels):
        raise StageError(
            f"{name} has {len(values)} values, but samples have {channels} channels",
            f"give data.{name} one value per channel",
        )
    return values


def _prepared(x: NDArray[Any], params: DataParams) -> NDArray[Any]:
    """Samples in the size asked for, and grey or black and white if asked."""
    import numpy as np

    from stages.images import resize, to_grayscale

    size = _size(params)
    if x.ndim != 4 and (params.grayscale or size):
        given = [name for name, there in (("grayscale", params.grayscale), ("resize", size)) if there]
        raise StageError(
            f"samples of shape {x.shape[1:]} are not images",
            f"drop {' and '.join(f'data.{name}' for name in given)}",
            "save the samples as (N, C, H, W)",
        )
    if size:
        x = resize(x, *size)
    x = to_grayscale(x) if params.grayscale else x
    if params.binarise and x.dtype != np.uint8:
        raise StageError(
            f"samples of type {x.dtype} are not pixels, and data.binarise rounds pixels",
            "drop data.binarise",
            "save the samples as uint8",
        )
    return np.where(x >= 128, np.uint8(255), np.uint8(0)) if params.binarise else x


STAGE = Stage(params=DataParams, run=run)
