"""The emitted Akida model on akida's own software backend, for `recast serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recast.stages.serving.model import Means, ServedModel
from recast.stages.targets.akida import runtime
from recast.stages.targets.akida.hybrid import chain, parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def load(emitted: Path, means: Means) -> ServedModel:
    """The model of the emitted folder; akida takes as many threads as it likes. StageError if it is damaged."""
    from recast.stages.common.dataset import read_contract

    if parts.are_in(emitted):
        return _in_parts(chain.Chain(emitted, means.threads))
    contract, akida_input = read_contract(emitted), runtime.read_input(emitted)
    shape = runtime.shape_given(akida_input, contract)
    model = runtime.load(emitted / runtime.ARTIFACT)
    takes: Literal["stored", "normalised"] = "stored" if akida_input.values == "stored" else "normalised"

    def predict(samples: NDArray[Any]) -> NDArray[np.float32]:
        return runtime.given(model, akida_input, shape, samples, samples)

    return ServedModel(contract, takes, predict)


def _in_parts(made: chain.Chain) -> ServedModel:
    """A part that takes stored samples gets them, and the others what the contract makes of these."""
    if made.takes_stored:
        return ServedModel(made.contract, "stored", made.predict)

    def predict(normalised: NDArray[Any]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = made.values(normalised, normalised)[made.parts.output]
        return found

    return ServedModel(made.contract, "normalised", predict)
