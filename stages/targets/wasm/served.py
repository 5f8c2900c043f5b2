"""The emitted module under wasmtime, for `recast serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recast.stages.common.samples import Taken
from recast.stages.serving.model import Means, ServedModel
from recast.stages.targets.wasm import runtime


def load(emitted: Path, means: Means) -> ServedModel:
    """The module of the emitted folder, which has one thread; StageError if the folder is damaged."""
    from recast.stages.common.dataset import read_contract

    model = runtime.start(emitted)

    def predict(samples: Taken) -> Any:
        return runtime.run(model, samples)

    return ServedModel(read_contract(emitted), "normalised", predict)
