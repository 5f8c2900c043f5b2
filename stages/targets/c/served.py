"""The emitted C, compiled for this machine, for `recast serve`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from recast.stages.serving.model import Means, ServedModel
from recast.stages.targets.c import runtime


def load(emitted: Path, means: Means) -> ServedModel:
    """The C of the emitted folder, which has one thread; StageError if it does not compile."""
    from recast.stages.common.dataset import read_contract

    # the library stays loaded when its file is gone
    with tempfile.TemporaryDirectory(prefix="recast-") as scratch:
        score = runtime.scorer(emitted, Path(scratch), checks=False)
    return ServedModel(read_contract(emitted), "normalised", score)
