"""The emitted int8 model, for `recast serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.samples import Taken
from recast.stages.serving.model import Means, ServedModel
from recast.stages.targets.onnxruntime.runtime import ARTIFACT


def load(emitted: Path, means: Means) -> ServedModel:
    """The model of the emitted folder in onnxruntime; StageError if the folder is damaged."""
    from recast.stages.common.dataset import read_contract

    session = onnx_files.Session(emitted / ARTIFACT, means.threads, "the emitted model", "as_shipped")

    def predict(samples: Taken) -> Any:
        return session.run(samples, len(samples))

    return ServedModel(read_contract(emitted), "normalised", predict)
