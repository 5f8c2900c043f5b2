"""BrainChip's packages behind small typed functions, and how the emitted model is run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from recast.stages.base import StageError
from recast.stages.common.vendor_errors import foreign
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida.layout import Step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract, Output

ARTIFACT = "model.fbz"
INPUT = "akida_input.json"
SHIPS = (ARTIFACT, "*.fbz", "*.onnx")
"""what computes the outputs: model.fbz alone, but of a model in parts"""

AkidaModel: TypeAlias = Any
"""An `akida.Model`."""


@dataclass(frozen=True)
class AkidaInput:
    """What the akida model takes: samples of `shape`, in `layout` (of the axes after the first), as `dtype`.

    `values` is "stored" for samples as they are stored, or "normalised" for the data contract's
    `(stored / divisor - mean) / std`. Akida gives no error for the wrong one, only wrong classes.
    """

    shape: tuple[int, ...]
    layout: str
    dtype: str
    values: str
    start: tuple[Step, ...] = ()
    """what is done to the axes of a sample first"""
    finish: tuple[Step, ...] = ()
    """what makes the model's output of what akida gives, once its channels come first; begun with the shape of that"""

    def prepare(self, stored: NDArray[Any], normalised: NDArray[np.float32]) -> NDArray[Any]:
        """Samples (n, *data shape), stored and normalised -> what `akida.Model.predict` takes."""
        import numpy as np

        x = layouts.apply(stored if self.values == "stored" else normalised, self.start)
        if self.layout == "NHWC" and x.ndim == 4:
            x = x.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(x.reshape(len(x), *self.shape), dtype=self.dtype)

    def write(self, directory: Path) -> None:
        """Write `akida_input.json` into the directory."""
        (directory / INPUT).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_input(directory: Path) -> AkidaInput:
    """What `write` wrote; StageError if it is missing or damaged."""
    try:
        return input_stated(json.loads((directory / INPUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"cannot read {directory.name}/{INPUT}: {error}", "run emit again") from error


def input_stated(raw: Mapping[str, Any]) -> AkidaInput:
    """What JSON states; raises ValueError, KeyError or TypeError if that is damaged."""
    start, finish = (layouts.steps(raw[name]) for name in ("start", "finish"))
    return AkidaInput(tuple(raw["shape"]), raw["layout"], raw["dtype"], raw["values"], start, finish)


def input_of(model: AkidaModel, layout: layouts.Layout) -> AkidaInput:
    """What this model takes, read from the model itself: its first layer decides."""
    first = model.layers[0].parameters
    shape = tuple(int(axis) for axis in model.input_shape)
    if layer_type(model.layers[0]) == "Quantizer":
        # a quantizer runs in software and takes floats, in the axis order it was made for
        axes = "NCHW" if first.channels_first else "NHWC"
        return AkidaInput(shape, axes, "float32", "normalised", layout.start, layout.finish)
    return AkidaInput(shape, "NHWC", "uint8", "stored", layout.start, layout.finish)


def layer_type(layer: Any) -> str:
    """The name of an akida layer's type, for example `InputConv2D`."""
    return str(layer.parameters.layer_type).rpartition(".")[2]


def load(path: Path) -> AkidaModel:
    """A fresh, unmapped model: one mapped on a virtual device cannot predict. StageError if unreadable."""
    import akida

    with foreign(f"akida cannot load {path.name}", "run emit again"):
        return akida.Model(str(path))


def only_output(contract: Contract) -> Output:
    """What the emitted model gives, by its contract. StageError if that states another number of outputs than one."""
    if len(contract.outputs) != 1:
        raise StageError(f"the emitted input.json states {len(contract.outputs)} outputs, not one", "run emit again")
    return contract.outputs[0]


def in_order(outputs: NDArray[Any], shape: Sequence[int | None]) -> NDArray[Any]:
    """What akida gives, (n, H, W, C), as the ONNX model's output of this shape: (n, C, H, W), flattened or not."""
    moved = outputs.transpose(0, 3, 1, 2) if outputs.ndim == 4 else outputs
    return moved.reshape(len(outputs), *(-1 if length is None else length for length in shape))


def shape_given(akida_input: AkidaInput, contract: Contract) -> tuple[int | None, ...]:
    """Of what akida gives for a sample, once its channels come first, by the emitted folder."""
    return akida_input.finish[0][1] if akida_input.finish else only_output(contract).shape


def reordered(outputs: str, shape: Sequence[int | None], finish: Sequence[Step]) -> str:
    """`in_order` and what follows as Python for a README."""
    lengths = ", ".join("-1" if length is None else str(length) for length in shape)
    moved = f"{outputs}.transpose(0, 3, 1, 2)"
    return layouts.as_python(moved, finish) if finish else f"{moved}.reshape(len(x), {lengths})"


def predictor(emitted: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Samples as stored (n, *shape) -> outputs (n, ...) as the ONNX model orders them, by the emitted contract.

    Runs akida's own software backend, which computes in integers just as the hardware does; it takes as many
    threads as it likes, which changes no integer. Raises StageError if the folder is damaged.
    """
    from recast.stages.common.dataset import read_contract

    contract, akida_input = read_contract(emitted), read_input(emitted)
    shape = shape_given(akida_input, contract)
    model = load(emitted / ARTIFACT)

    return lambda stored: given(model, akida_input, shape, stored, contract.normalise(stored))


def given(
    model: AkidaModel,
    akida_input: AkidaInput,
    shape: Sequence[int | None],
    stored: NDArray[Any],
    normalised: NDArray[np.float32],
) -> NDArray[np.float32]:
    """What a model of Akida gives for samples (n, *shape), of which it takes one or the other, as ONNX orders it.

    `shape`: of what it gives for a sample, once its channels come first.
    """
    x = akida_input.prepare(stored, normalised)
    with foreign(f"akida cannot run the emitted model on samples of shape {x.shape[1:]}", "run emit again"):
        outputs: NDArray[np.float32] = model.predict(x)
    return layouts.apply(in_order(outputs, shape), akida_input.finish)
