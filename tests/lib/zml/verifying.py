"""Runs the zml target's verify on what `op_models` emits, whole or with a fault planted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from recast.stages.base import Inputs
from recast.stages.targets.zml.verify import STAGE

(STAND_IN,) = STAGE.source_paths.values()


def run(root: Path, emit: str = "emit", out: str = "verify", **params: Any) -> dict[str, Any]:
    """Verify `<root>/<emit>` into `<root>/<out>`; its metrics. A ZML checkout is in a folder beside `root`."""
    folders = {key: root / (emit if key == "emit" else key) for key in STAGE.inputs}
    made, scratch = root / out, root / f"{out}.scratch"
    made.mkdir()
    scratch.mkdir()
    files = {"zml_checkout": root.parent / "checkout"} if "zml_checkout" in params else {}
    inputs = Inputs(folders, files=files, sources=STAGE.source_paths, scratch=scratch)
    return STAGE.run(STAGE.params(**params), inputs, made)


def copied(emitted: Path, to: Path, name: str = "Images") -> Path:
    """A copy of what is emitted for a model, without what has been verified."""
    shutil.copytree(emitted / name, to / name, ignore=shutil.ignore_patterns("verify*"))
    return to / name
