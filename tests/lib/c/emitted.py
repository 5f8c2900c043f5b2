"""Emits small models for the tests of the c target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recast.stages.targets.c import emit
from tests.lib.onnx_models import Workplace
from tests.lib.wasm.emitted import calibrated


def emitted(root: Path, name: str = "emit", work: Workplace | None = None, **params: Any) -> Workplace:
    work = work or calibrated(root)
    work.run(emit.STAGE, name, **params)
    return work
