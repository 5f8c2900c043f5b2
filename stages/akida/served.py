"""The emitted Akida model on akida's own software backend, for `recast serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.akida import runtime
from stages.serving.model import Means, ServedModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def load(emitted: Path, means: Means) -> ServedModel:
    """The model of the emitted folder; akida takes as many threads as it likes. StageError if it is damaged."""
    from stages.dataset import read_contract

    akida_input = runtime.read_input(emitted)
    model = runtime.load(emitted / runtime.ARTIFACT)
    takes: Literal["stored", "normalised"] = "stored" if akida_input.values == "stored" else "normalised"

    def predict(samples: NDArray[Any]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = model.predict(akida_input.prepare(samples, samples))
        return scores.reshape(len(samples), -1)

    return ServedModel(read_contract(emitted), takes, predict)
