"""Simplifies the exported models and quantizes them: `python int8_models.py FOLDER`, in the onnx environment.

NAME.onnx is replaced by its simplified form, and NAME.int8.onnx is what the stages of the wasm target make of it with
`scheme: int8` and their defaults, with the onnxruntime's own output for NAME.input.bin in NAME.int8.output.bin.
The last line it prints is JSON: model -> shape of its input.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np

from recast.stages.base import Inputs
from recast.stages.common.dataset import Contract
from recast.stages.common.int8.qdq_model import CalibrateParams, calibrate
from recast.stages.common.onnx_models import onnx_session
from recast.stages.targets.wasm import quantize
from recast.stages.trunk.rewrites import simplify_process


def main(folder: Path) -> None:
    shapes = {}
    for samples in sorted(folder.glob("*.calibration.npz")):
        name = samples.name.partition(".")[0]
        model = folder / f"{name}.onnx"
        simplify_process.main("onnxsim", str(model), str(model), "-", "-")
        with tempfile.TemporaryDirectory() as temporary:
            place = Path(temporary)
            for stage in ("simplify", "data", "quantize", "calibrate", "scratch"):
                (place / stage).mkdir()
            shutil.copy(model, place / "simplify/model.onnx")
            shutil.copy(samples, place / "data/calibration.npz")
            shape = np.load(samples)["x"].shape[1:]
            Contract("benchmark", shape, "float32", 1.0, (0.0,), (1.0,), ("0",)).write(place / "data")
            inputs = Inputs({stage.name: stage for stage in place.iterdir()}, scratch=place / "scratch")
            quantize.run(quantize.QuantizeParams(scheme="int8"), inputs, place / "quantize")
            calibrate(CalibrateParams(batch_size=1), inputs, place / "calibrate")
            shutil.copy(place / "calibrate/model.onnx", folder / f"{name}.int8.onnx")
        session = onnx_session.start(folder / f"{name}.int8.onnx", 1, "as_shipped")
        port = session.get_inputs()[0]
        x = np.fromfile(folder / f"{name}.input.bin", np.float32).reshape(port.shape)
        session.run(None, {port.name: x})[0].tofile(folder / f"{name}.int8.output.bin")
        shapes[name] = port.shape
    print(json.dumps(shapes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
