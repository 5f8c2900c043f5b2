"""Runs the akida target's stages up to calibrate on small models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import calibrate, quantize
from recast.stages.trunk.rewrites import simplify_process
from tests.lib.onnx_models import Workplace, cnn, write_data, write_export


def workplace(root: Path, exported: Any = None, **params: Any) -> Workplace:
    """All stages up to calibrate."""
    write_data(root / "data")
    (root / "simplify").mkdir()
    exported = exported or cnn()
    simplify_process.drop_idle_allowzero(exported)
    write_export(root / "export", exported, root / "data")
    onnx_files.write_model(exported, root / "simplify" / "model.onnx")
    work = Workplace(root)
    work.run(quantize.STAGE, "quantize", **params)
    work.run(calibrate.STAGE, "calibrate", samples=64)
    return work
