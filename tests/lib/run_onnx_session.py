"""Runs the models of a folder in sessions of some modes: `python run_onnx_session.py FOLDER MODE ...`.

NAME.npy holds the input of NAME.onnx for several runs; NAME.MODE.npy gets the output of each.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from recast.stages.common.onnx_models import onnx_session


def outputs(model: Path, mode: onnx_session.Mode) -> Any:
    """The outputs of a model for the inputs beside it."""
    session = onnx_session.start(model, 1, mode)
    name = session.get_inputs()[0].name
    return np.stack([session.run(None, {name: x})[0] for x in np.load(model.with_suffix(".npy"))])


if __name__ == "__main__":
    folder, *modes = sys.argv[1:]
    for path in sorted(Path(folder).glob("*.onnx")):
        for mode in modes:
            np.save(path.with_suffix(f".{mode}.npy"), outputs(path, mode))
