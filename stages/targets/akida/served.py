"""The emitted Akida model on akida's own software backend, for `recast serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recast.stages.serving.model import Means, ServedModel
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida import runtime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def load(emitted: Path, means: Means) -> ServedModel:
    """The model of the emitted folder; akida takes as many threads as it likes. StageError if it is damaged."""
    from recast.stages.common.dataset import read_contract

    contract, akida_input = read_contract(emitted), runtime.read_input(emitted)
    shape = runtime.shape_given(akida_input, contract)
    model = runtime.load(emitted / runtime.ARTIFACT)
    takes: Literal["stored", "normalised"] = "stored" if akida_input.values == "stored" else "normalised"

    def predict(samples: NDArray[Any]) -> NDArray[np.float32]:
        made = runtime.in_order(model.predict(akida_input.prepare(samples, samples)), shape)
        return layouts.apply(made, akida_input.finish)

    return ServedModel(contract, takes, predict)
