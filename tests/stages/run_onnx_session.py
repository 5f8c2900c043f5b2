"""Runs an ONNX model in a session of a mode: `python run_onnx_session.py MODEL INPUTS.npy OUTPUTS.npz MODE ...`.

INPUTS holds the model's input for several runs; OUTPUTS gets, by mode, the output of each.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from stages import onnx_session


def outputs(model: Path, inputs: Any, mode: onnx_session.Mode) -> Any:
    session = onnx_session.start(model, 1, mode)
    name = session.get_inputs()[0].name
    return np.stack([session.run(None, {name: x})[0] for x in inputs])


if __name__ == "__main__":
    model, inputs, target, *modes = sys.argv[1:]
    np.savez(target, **{mode: outputs(Path(model), np.load(inputs), mode) for mode in modes})
