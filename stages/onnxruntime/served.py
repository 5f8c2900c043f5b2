"""The emitted int8 model, for `recast serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import onnx_files
from stages.onnxruntime.runtime import ARTIFACT
from stages.serving.model import Means, ServedModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def load(emitted: Path, means: Means) -> ServedModel:
    """The model of the emitted folder in onnxruntime; StageError if the folder is damaged."""
    from stages.dataset import read_contract

    session = onnx_files.Session(emitted / ARTIFACT, means.threads, "the emitted model", "as_shipped")

    def predict(samples: NDArray[Any]) -> NDArray[np.float32]:
        return session.run(samples, len(samples))

    return ServedModel(read_contract(emitted), "normalised", predict)
