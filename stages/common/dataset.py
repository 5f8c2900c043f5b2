"""The form in which the `data` stage hands samples on, and how to read them.

A directory holds `<split>.npz` for the splits train, validation (may be absent), test and
calibration, each with the samples as stored, an array (N, *shape) for each input by its name (`x` where there
is one), and, where the data has labels, `y` (N, ...). `input.json` is the contract: what the model is for, what its
inputs are, and how stored samples become these.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.base import StageError
from recast.stages.common import npz_files, samples
from recast.stages.common.samples import Taken

CONTRACT = "input.json"
VERSION = 2
"""of input.json: 1 knew one input of a classifier, and had what is now in `inputs` at its top"""
SPLITS = ("train", "validation", "test", "calibration")
MADE_AGAIN = "run the recipe again, which makes it anew"
INPUT, TRUTH = "x", "y"
"""arrays of a split with one input"""
LAYOUTS = {1: "features", 2: "ncl", 3: "nchw", 4: "ncdhw"}
"""rank of a sample -> how its axes are called, the batch in front"""


@dataclass(frozen=True)
class Input:
    """One input of the model: `(stored / divisor - mean) / std` of `shape` per sample; whole numbers as they are.

    mean and std hold one number, or one per channel (first axis of `shape`).
    """

    name: str
    shape: tuple[int, ...]
    stored_dtype: str
    divisor: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    dtype: str = "float32"
    """what the model takes; of a type of whole numbers, samples are given as they are stored"""
    tensor: str = ""
    """what the model itself calls it, in an emitted folder that says so"""

    @property
    def layout(self) -> str:
        """The axes of a batch."""
        return LAYOUTS.get(len(self.shape), "")

    @property
    def is_float(self) -> bool:
        """Whether stored samples are normalised."""
        return self.dtype.startswith("float")

    def normalise(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Stored samples (N, *shape) -> the model's input (N, *shape)."""
        if not self.is_float:
            return stored.astype(self.dtype)
        mean, std = (self._per_channel(values, np.float32) for values in (self.mean, self.std))
        made: NDArray[Any] = (stored.astype(np.float32) / np.float32(self.divisor) - mean) / std
        return made.astype(self.dtype, copy=False)

    def denormalised(self, normalised: NDArray[Any]) -> NDArray[np.float64]:
        """The values `normalise` made of stored samples (N, *shape), rounded if integers are stored, but not cut."""
        if not self.is_float:
            return normalised.astype(np.float64)
        mean, std = (self._per_channel(values, np.float64) for values in (self.mean, self.std))
        values: NDArray[np.float64] = (normalised.astype(np.float64) * std + mean) * self.divisor
        return np.round(values) if np.dtype(self.stored_dtype).kind in "iu" else values

    def stored(self, normalised: NDArray[Any]) -> NDArray[Any]:
        """What `normalise` made of stored samples (N, *shape), back as they are stored; exact for uint8."""
        if not self.is_float:
            return normalised.astype(self.stored_dtype)
        stored: NDArray[Any] = self.denormalised(normalised).astype(self.stored_dtype)
        return stored

    def _per_channel(self, values: tuple[float, ...], dtype: Any) -> NDArray[Any]:
        return np.asarray(values, dtype).reshape((-1,) + (1,) * max(len(self.shape) - 1, 0))


@dataclass(frozen=True)
class Output:
    """One output of an emitted model, (N, *shape); an axis of any length is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Contract:
    """What the model is for, what its inputs are, and in an emitted folder what it gives.

    `shape`, `divisor` and so on are those of the one input, for whoever takes one; StageError if there are others.
    """

    dataset: str
    inputs: tuple[Input, ...]
    classes: tuple[str, ...] = ()
    """names of the classes, where the task has any"""
    task: Mapping[str, Any] = field(default_factory=lambda: {"name": "classification"})
    """name of the task, and its options"""
    outputs: tuple[Output, ...] = ()
    """those of the model, where one has been emitted"""
    front_end: Mapping[str, Any] = field(default_factory=dict)
    """what made samples of recordings, which no emitted client does; empty where samples are as recorded"""

    @property
    def only(self) -> Input:
        """The one input. StageError if there are several."""
        if len(self.inputs) != 1:
            raise StageError(
                f"the model takes {len(self.inputs)} inputs ({', '.join(self.names)}), and this can give it one",
                "choose the target onnxruntime, which takes several, as c and wasm do",
                "join them into one in the model",
            )
        return self.inputs[0]

    @property
    def is_single(self) -> bool:
        """Whether it is of one input and, where outputs are known, of one output."""
        return len(self.inputs) == 1 and len(self.outputs) < 2

    @property
    def names(self) -> list[str]:
        """Of the inputs."""
        return [one.name for one in self.inputs]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return self.only.shape

    @property
    def stored_dtype(self) -> str:
        """Of samples as stored."""
        return self.only.stored_dtype

    @property
    def divisor(self) -> float:
        """See `Input`."""
        return self.only.divisor

    @property
    def mean(self) -> tuple[float, ...]:
        """See `Input`."""
        return self.only.mean

    @property
    def std(self) -> tuple[float, ...]:
        """See `Input`."""
        return self.only.std

    def normalise(self, stored: Taken) -> Any:
        """As `Input.normalise`, of every input."""
        return self._each(stored, Input.normalise)

    def denormalised(self, normalised: Taken) -> Any:
        """As `Input.denormalised`, of every input."""
        return self._each(normalised, Input.denormalised)

    def stored(self, normalised: Taken) -> Any:
        """As `Input.stored`, of every input."""
        return self._each(normalised, Input.stored)

    def _each(self, x: Taken, change: Callable[[Input, NDArray[Any]], NDArray[Any]]) -> Any:
        given = samples.named(x, self.names)
        return samples.of({one.name: change(one, given[one.name]) for one in self.inputs})

    def as_json(self) -> dict[str, Any]:
        """For input.json."""
        inputs = [{**asdict(one), "layout": one.layout} for one in self.inputs]
        for one in inputs:
            if not one["tensor"]:
                del one["tensor"]
        outputs = [asdict(one) for one in self.outputs]
        return {
            "version": VERSION,
            "dataset": self.dataset,
            "task": dict(self.task),
            "classes": list(self.classes),
            "inputs": inputs,
            **({"outputs": outputs} if outputs else {}),
            **({"front_end": dict(self.front_end)} if self.front_end else {}),
        }

    def write(self, directory: Path) -> None:
        """Write `input.json` into the directory."""
        (directory / CONTRACT).write_text(json.dumps(self.as_json(), indent=2) + "\n", encoding="utf-8")


def read_contract(directory: Path) -> Contract:
    """The contract a `data` output (or an emitted folder) states; StageError if it is missing or damaged."""
    try:
        raw = json.loads((directory / CONTRACT).read_text(encoding="utf-8"))
        if raw["version"] != VERSION:
            raise ValueError(f"version {raw['version']}, not {VERSION}")
        # an emitted folder may say more of its model
        inputs = tuple(_input(one) for one in raw["inputs"])
        outputs = tuple(Output(one["name"], tuple(one["shape"]), one["dtype"]) for one in raw.get("outputs", ()))
        front_end = dict(raw.get("front_end", {}))
        return Contract(str(raw["dataset"]), inputs, tuple(raw["classes"]), dict(raw["task"]), outputs, front_end)
    except KeyError as error:
        raise StageError(
            f"cannot read the input contract {directory.name}/{CONTRACT}: it has no {error}", MADE_AGAIN
        ) from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StageError(f"cannot read the input contract {directory.name}/{CONTRACT}: {error}", MADE_AGAIN) from error


def _input(raw: Mapping[str, Any]) -> Input:
    return Input(
        name=str(raw["name"]),
        shape=tuple(int(length) for length in raw["shape"]),
        stored_dtype=str(np.dtype(raw["stored_dtype"])),
        divisor=float(raw["divisor"]),
        mean=tuple(float(value) for value in raw["mean"]),
        std=tuple(float(value) for value in raw["std"]),
        dtype=str(np.dtype(raw["dtype"])),
        tensor=str(raw.get("tensor", "")),
    )


def read_arrays(directory: Path, split: str) -> dict[str, NDArray[Any]]:
    """Every array of one split by its name, inputs as stored, read-only; what is not looked at takes no memory.

    StageError if there is none, or it is damaged.
    """
    path = directory / f"{split}.npz"
    try:
        found = npz_files.arrays(path)
    except MemoryError:
        raise
    # damage shows in whatever zipfile and numpy stumble over
    except Exception as error:
        raise StageError(f"cannot read the {split} samples from {path.name}: {error}", MADE_AGAIN) from error
    counts = {name: len(array) for name, array in found.items()}
    if not counts or len(set(counts.values())) > 1:
        said = ", ".join(f"{count} of {name}" for name, count in counts.items()) or "nothing"
        raise StageError(f"{path.name} holds {said}", MADE_AGAIN)
    return found


def read_samples(directory: Path, split: str) -> tuple[Any, NDArray[Any] | None]:
    """Samples of every input as stored (N, *shape), and labels (N, ...) or None, of one split; StageError as above."""
    arrays, names = read_arrays(directory, split), read_contract(directory).names
    for name in names:
        if name not in arrays:
            raise StageError(f"{split}.npz holds no samples of the input '{name}'", MADE_AGAIN)
    return samples.of({name: arrays[name] for name in names}), arrays.get(TRUTH)


def read_taken(directory: Path, split: str) -> tuple[Any, NDArray[Any] | None]:
    """Samples as the model takes them, (N, *shape) of every input, and labels (N, ...) or None, of one split.

    Raises StageError if the split is missing, empty or holds a NaN or an infinity.
    """
    stored, y = read_samples(directory, split)
    return taken(read_contract(directory), stored, split), y


def taken(contract: Contract, stored: Any, split: str) -> Any:
    """Stored samples (N, *shape) of every input, of that split, as the model takes them. StageError as above."""
    if not len(stored):
        raise StageError(f"the {split} split is empty", MADE_AGAIN)
    made = contract.normalise(stored)
    for name, array in samples.parts(made).items():
        _refuse_infinite(array, 0, name, split)
    return made


class Normalised:
    """Stored samples (N, *shape) of an input as the model takes them, each made where it is asked for."""

    def __init__(self, of: Input, stored: NDArray[Any]) -> None:
        self._of, self._stored, self.shape, self.dtype = of, stored, stored.shape, np.dtype(of.dtype)

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return self._of.normalise(self._stored[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype, copy=False)

    @property
    def sample_bytes(self) -> int:
        """Of one sample as the model takes it."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def taken_one_by_one(contract: Contract, stored: Any, split: str) -> Any:
    """As `taken`, but of every input a `Normalised`: to be sliced, as an array is, and never held as a whole."""
    if not len(stored):
        raise StageError(f"the {split} split is empty", MADE_AGAIN)
    given = samples.named(stored, contract.names)
    made = {one.name: Normalised(one, given[one.name]) for one in contract.inputs}
    for name, one in made.items():
        for part in parts_of(one):
            _refuse_infinite(one[part], part.start, name if len(made) > 1 else "", split)
    return samples.of(made)


def parts_of(x: Any) -> Iterator[slice]:
    """Of samples those that are held at once: all, unless they are made one by one and are many."""
    each = [one.sample_bytes for one in samples.parts(x).values() if isinstance(one, Normalised)]
    return npz_files.slices(len(x), max(1, sum(each))) if each else iter([slice(0, len(x))])


def _refuse_infinite(array: NDArray[Any], start: int, name: str, split: str) -> None:
    finite = np.isfinite(array).reshape(len(array), -1).all(1)
    if not finite.all():
        raise StageError(
            f"the {split} samples hold NaN or infinity (first at sample {start + int(np.argmin(finite))}"
            f"{f' of {name}' if name else ''})",
            "mend or drop those samples at data.path",
            "mend or drop those samples at inputs.path",
            "set data.mean and data.std so that no sample overflows",
        )


def read_one_by_one(directory: Path, split: str) -> tuple[Any, NDArray[Any] | None]:
    """As `read_taken`, but of every input a `Normalised`."""
    stored, y = read_samples(directory, split)
    return taken_one_by_one(read_contract(directory), stored, split), y


def read_stored(directory: Path, split: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """`read_samples` of a model with one input. StageError if there are several."""
    found = read_samples(directory, split)
    _ = read_contract(directory).only
    return found


def read(directory: Path, split: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """`read_taken` of a model with one input. StageError if there are several."""
    found = read_taken(directory, split)
    _ = read_contract(directory).only
    return found


def first(taken: Taken, count: int | None, param: str) -> Any:
    """The first `count` of the calibration samples, all for None; StageError if there are fewer than `param` says."""
    if count is not None and count > len(taken):
        raise StageError(
            f"{param} is {count}, but there are {len(taken)} calibration samples",
            f"lower {param} to {len(taken)}",
            "raise data.calibration_samples",
        )
    return taken[:count]
