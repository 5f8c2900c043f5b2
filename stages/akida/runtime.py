"""BrainChip's packages behind small typed functions, and how the emitted model is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from stages.base import StageError
from stages.foreign import foreign

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ARTIFACT = "model.fbz"
INPUT = "akida_input.json"

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

    def prepare(self, stored: NDArray[Any], normalised: NDArray[np.float32]) -> NDArray[Any]:
        """Samples (n, *data shape), stored and normalised -> what `akida.Model.predict` takes."""
        import numpy as np

        x = stored if self.values == "stored" else normalised
        if self.layout == "NHWC" and x.ndim == 4:
            x = x.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(x.reshape(len(x), *self.shape), dtype=self.dtype)

    def write(self, directory: Path) -> None:
        """Write `akida_input.json` into the directory."""
        (directory / INPUT).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_input(directory: Path) -> AkidaInput:
    """What `write` wrote; StageError if it is missing or damaged."""
    try:
        raw = json.loads((directory / INPUT).read_text(encoding="utf-8"))
        return AkidaInput(tuple(raw["shape"]), raw["layout"], raw["dtype"], raw["values"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"cannot read {directory.name}/{INPUT}: {error}", "run emit again") from error


def input_of(model: AkidaModel) -> AkidaInput:
    """What this model takes, read from the model itself: its first layer decides."""
    first = model.layers[0].parameters
    shape = tuple(int(axis) for axis in model.input_shape)
    if layer_type(model.layers[0]) == "Quantizer":
        # a quantizer runs in software and takes floats, in the axis order it was made for
        layout = "NCHW" if first.channels_first else "NHWC"
        return AkidaInput(shape, layout, "float32", "normalised")
    return AkidaInput(shape, "NHWC", "uint8", "stored")


def layer_type(layer: Any) -> str:
    """The name of an akida layer's type, for example `InputConv2D`."""
    return str(layer.parameters.layer_type).rpartition(".")[2]


def load(path: Path) -> AkidaModel:
    """A fresh, unmapped model: one mapped on a virtual device cannot predict. StageError if unreadable."""
    import akida

    with foreign(f"akida cannot load {path.name}", "run emit again"):
        return akida.Model(str(path))


def predictor(emitted: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Samples as stored (n, *shape) -> scores (n, classes), with the contract in the emitted folder.

    Runs akida's own software backend, which computes in integers just as the hardware does; it takes as many
    threads as it likes, which changes no integer. Raises StageError if the folder is damaged.
    """
    from stages.dataset import read_contract

    contract, akida_input = read_contract(emitted), read_input(emitted)
    model = load(emitted / ARTIFACT)

    def predict(stored: NDArray[Any]) -> NDArray[np.float32]:
        x = akida_input.prepare(stored, contract.normalise(stored))
        with foreign(f"akida cannot run the emitted model on samples of shape {x.shape[1:]}", "run emit again"):
            scores: NDArray[np.float32] = model.predict(x)
        return scores.reshape(len(stored), -1)

    return predict
