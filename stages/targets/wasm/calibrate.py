"""Make the int8 model as the onnxruntime target does, or pass the float model on.

Deterministic, as `recast.stages.common.int8.qdq_model` is.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from recast.stages.base import Inputs, Metrics, Stage
from recast.stages.common.int8.qdq_model import CalibrateParams, calibrate
from recast.stages.targets.wasm.quantize import SCHEME


def run(params: CalibrateParams, inputs: Inputs, out: Path) -> Metrics:
    """quantize/model.onnx, scheme.json and the calibration split -> model.onnx, for int8 ranges.json too.

    float32 needs no ranges: its model is passed on. Raises StageError as `qdq_model` does.
    """
    scheme = json.loads((inputs["quantize"] / SCHEME).read_text(encoding="utf-8"))
    if scheme["scheme"] == "int8":
        return calibrate(params, inputs, out)
    shutil.copyfile(inputs["quantize"] / "model.onnx", out / "model.onnx")
    return {"samples": 0, "ranges": 0, "size_bytes": (out / "model.onnx").stat().st_size}


STAGE = Stage(params=CalibrateParams, inputs=("quantize", "data"), run=run)
