"""Run the emitted folder in onnxruntime, as its user would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import onnx_files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ARTIFACT = "model.onnx"


def predictor(emitted: Path, threads: int) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Samples as stored (n, *shape) -> scores (n, classes), with the contract in the emitted folder.

    Raises StageError if the folder is damaged or onnxruntime cannot load its model.
    """
    from stages.dataset import read_contract

    contract = read_contract(emitted)
    session = onnx_files.Session(emitted / ARTIFACT, threads, "the emitted model", "as_shipped")

    def predict(stored: NDArray[Any]) -> NDArray[np.float32]:
        return session.run(contract.normalise(stored), len(stored))

    return predict
