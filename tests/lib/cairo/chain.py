"""Runs the cairo target's stages on small models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.cairo import calibrate, emit, quantize, verify
from tests.lib.onnx_models import Workplace, cnn, write_data, write_export


def workplace(root: Path, simplified: Any | None = None) -> Workplace:
    simplified = cnn() if simplified is None else simplified
    write_data(root / "data")
    write_export(root / "export", simplified, root / "data")
    (root / "simplify").mkdir()
    onnx_files.write_model(simplified, root / "simplify" / "model.onnx")
    return Workplace(root)


def emitted(work: Workplace, **params: dict[str, Any]) -> None:
    for name, stage in (("quantize", quantize.STAGE), ("calibrate", calibrate.STAGE), ("emit", emit.STAGE)):
        work.run(stage, name, **params.get(name, {}))


def verified(work: Workplace, name: str = "verify", **params: Any) -> dict[str, Any]:
    return work.run(verify.STAGE, name, **params)
