"""Run the emitted folder in onnxruntime, as its user would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.samples import Taken

ARTIFACT = "model.onnx"


def predictor(emitted: Path, threads: int) -> Callable[[Taken], Taken]:
    """Samples as stored (n, *shape) -> outputs (n, ...), with the contract in the emitted folder.

    Raises StageError if the folder is damaged or onnxruntime cannot load its model.
    """
    from recast.stages.common.dataset import read_contract

    contract = read_contract(emitted)
    session = onnx_files.Session(emitted / ARTIFACT, threads, "the emitted model", "as_shipped")

    def predict(stored: Taken) -> Any:
        return session.run(contract.normalise(stored), len(stored))

    return predict
