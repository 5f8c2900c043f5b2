"""The emitted module under wasmtime, for `recast serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.serving.model import Means, ServedModel
from stages.wasm import runtime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def load(emitted: Path, means: Means) -> ServedModel:
    """The module of the emitted folder, which has one thread; StageError if the folder is damaged."""
    from stages.dataset import read_contract

    model = runtime.start(emitted)

    def predict(samples: NDArray[Any]) -> NDArray[np.float32]:
        return runtime.run(model, samples)

    return ServedModel(read_contract(emitted), "normalised", predict)
