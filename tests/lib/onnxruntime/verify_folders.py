"""Runs onnxruntime's verify in each of the folders, into `FOLDER/NAME`: `python verify_folders.py NAME FOLDER ...`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from recast.stages.targets.onnxruntime import verify
from tests.lib.onnx_models import Workplace


def verified(name: str, folders: list[Path]) -> None:
    for folder in folders:
        metrics: dict[str, Any] = Workplace(folder).run(verify.STAGE, name, min_agreement=None)
        (folder / name / "metrics.json").write_text(json.dumps(metrics))


if __name__ == "__main__":
    verified(sys.argv[1], [Path(folder) for folder in sys.argv[2:]])
