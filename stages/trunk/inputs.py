"""What an imported model is compared on where its data is not known: an npz of inputs, or inputs that are drawn.

Stands for `data` before `import`, for the task `none`: there are no labels, no classes, and nothing is normalised. It
needs no PyTorch. Drawn inputs are uniform within stated bounds, and input.json says that they were drawn: what is
measured on them holds for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, model_validator

from recast.stages.base import Inputs, Metrics, Params, RepositoryPath, Stage, StageError, progress
from recast.stages.common.onnx_models import foreign_file, onnx_files
from recast.stages.tasks.task import TaskReference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Input

DRAWN = "drawn"
"""what input.json calls a dataset that is none"""


class Bounds(BaseModel):
    """Between which values an input is drawn, both included for whole numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: FiniteFloat = 0.0
    high: FiniteFloat = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Bounds:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}: high must be above low")
        return self


class InputsParams(Params):
    """Where the inputs come from."""

    task: TaskReference = Field(default=TaskReference(), description="what the model is for; it must be none")
    path: RepositoryPath | None = Field(
        default=None, description="an npz of inputs: an array (N, ...) for each input of the model, by its name"
    )
    onnx: RepositoryPath | None = Field(
        default=None, description="the ONNX file whose inputs are to be drawn; the one that import takes"
    )
    bounds: dict[str, Bounds] = Field(
        default={}, description="input -> {low, high} of what is drawn; unset: 0 to 1, whole numbers 0 and 1"
    )
    axes: dict[str, PositiveInt] = Field(
        default={}, description="length of an axis of any length but the batch, by its name in the file"
    )
    samples: int = Field(
        default=64, ge=2, description="samples that are drawn; half are for calibration, half for test"
    )
    seed: int = Field(default=0, ge=0, description="seed of what is drawn, and of the split")

    @model_validator(mode="after")
    def _consistent(self) -> InputsParams:
        if (self.path is None) == (self.onnx is None):
            raise ValueError("needs either `path`, an npz of inputs, or `onnx`, the file whose inputs are drawn")
        if self.path and (self.bounds or self.axes):
            raise ValueError("bounds and axes are of inputs that are drawn: drop them, or `path`")
        if self.task.name != "none":
            raise ValueError(f"needs 'task: none' at the top of the recipe; for the task {self.task.name} use `data`")
        return self


def run(params: InputsParams, inputs: Inputs, out: Path) -> Metrics:
    """An npz of inputs, or an ONNX file -> calibration.npz, test.npz and input.json, as `data` writes them.

    Raises StageError for a file that is damaged, arrays that are no samples, and an axis whose length nobody says.
    """
    import numpy as np

    from recast.stages.common.dataset import Contract, Input

    arrays = _stored(inputs.files["path"], str(params.path)) if params.path else _drawn(params, inputs.files["onnx"])
    count = len(next(iter(arrays.values())))
    order = np.random.default_rng([params.seed, 0]).permutation(count)
    half = count // 2
    splits = {"calibration": order[:half], "test": order[half:]} if half else {"calibration": order, "test": order}
    if not half:
        progress("one sample: it is calibrated on and compared on")
    described: list[Input] = []
    for name, array in arrays.items():
        described.append(Input(name, array.shape[1:], str(array.dtype), dtype=str(array.dtype)))
    for split, chosen in splits.items():
        parts: dict[str, Any] = {name: np.ascontiguousarray(array[chosen]) for name, array in arrays.items()}
        np.savez(out / f"{split}.npz", **parts)
    Contract(params.path or DRAWN, tuple(described), task=params.task.as_json()).write(out)
    return {
        "dataset": params.path or DRAWN,
        "inputs": {one.name: list(one.shape) for one in described},
        **{f"{split}_samples": len(chosen) for split, chosen in sorted(splits.items())},
    }


def _stored(path: Path, shown: str) -> dict[str, NDArray[Any]]:
    import numpy as np

    from recast.stages.trunk.sources.npz_file import npz_arrays

    arrays = npz_arrays(path, shown)
    if not arrays:
        raise StageError(f"{shown} holds no arrays", "save an array (N, ...) for each input, by its name")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or not array.ndim or not array.size:
            raise StageError(
                f"{shown}: {name} has dtype {array.dtype} and shape {array.shape}",
                "save numbers, (N, ...), one row for each sample",
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise StageError(f"{shown}: {name} holds NaN or infinity", "mend or drop those samples")
    counts = {len(array) for array in arrays.values()}
    if len(counts) > 1:
        said = ", ".join(f"{len(array)} of {name}" for name, array in arrays.items())
        raise StageError(f"{shown} holds {said}", "save as many rows of each input")
    return {name: array.astype(np.float32) if array.dtype == np.float64 else array for name, array in arrays.items()}


def _drawn(params: InputsParams, path: Path) -> dict[str, NDArray[Any]]:
    """`samples` of every input of the model, by its name."""
    import numpy as np

    shown = str(params.onnx)
    model = foreign_file.read(path, shown)
    ports = onnx_files.inputs_of(model)
    if not ports:
        raise StageError(f"{shown} has no input", "export it with one")
    unknown = sorted(set(params.bounds) - {port.name for port in ports})
    if unknown:
        raise StageError(
            f"{shown} has no input '{unknown[0]}'; it has {', '.join(port.name for port in ports)}",
            "mend inputs.bounds",
        )
    stream = np.random.default_rng([params.seed, 1])
    return {
        port.name: _values(
            port, _shape(port, model, params, shown), params.bounds.get(port.name), params.samples, stream
        )
        for port in ports
    }


def _shape(port: onnx_files.Port, model: onnx_files.Model, params: InputsParams, shown: str) -> tuple[int, ...]:
    """Of one sample: the axes behind the batch, or all if there is none."""
    names = onnx_files.axis_names(model, port.name)
    first = port.shape[0] if port.shape else None
    # the first axis is the batch, unless its length is fixed and the outputs have another
    has_batch = bool(port.shape) and (
        not first or first == 1 or all(made.shape[:1] == (first,) for made in onnx_files.outputs_of(model))
    )
    found: list[int] = []
    for axis, length in enumerate(port.shape):
        if axis == 0 and has_batch:
            continue
        said = length or params.axes.get(names[axis] or "")
        if not said:
            called = names[axis] or f"axis {axis}"
            raise StageError(
                f"input '{port.name}' of {shown} takes any length along '{called}'",
                f"say how long it is to be: set inputs.axes to {{{called}: 16}}" if names[axis] else "",
                "give the samples by inputs.path",
            )
        found.append(said)
    return tuple(found)


def _values(
    port: onnx_files.Port, shape: tuple[int, ...], bounds: Bounds | None, samples: int, stream: np.random.Generator
) -> NDArray[Any]:
    import numpy as np

    dtype, within = np.dtype(onnx_files.dtype_of(port)), bounds or Bounds()
    size = (samples, *shape)
    if dtype.kind == "b":
        return stream.integers(0, 2, size).astype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not limits.min <= within.low or not within.high <= limits.max:
            raise StageError(
                f"input '{port.name}' is {dtype}, and {within.low:g} to {within.high:g} does not fit it",
                "mend inputs.bounds",
            )
        return stream.integers(int(np.ceil(within.low)), int(np.floor(within.high)), size, endpoint=True).astype(dtype)
    if dtype.kind != "f":
        raise StageError(f"input '{port.name}' is {dtype}", "give the model inputs of numbers")
    return stream.uniform(within.low, within.high, size).astype(dtype)


STAGE = Stage(params=InputsParams, run=run, stands_for="data")
