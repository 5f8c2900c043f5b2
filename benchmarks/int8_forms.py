"""Makes int8 forms of exported models and times them: `python int8_forms.py FOLDER [ROUNDS RUNS]`, environment onnx.

FOLDER holds NAME.onnx and NAME.calibration.npz, as webassembly/exported.py writes them. With rounds and runs it writes
NAME.FORM.onnx and their scores, and its last line is JSON: model -> form -> what was measured. Without, it runs the
forms that are there once, and its last line says of which the scores are the same, bit for bit.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

from recast.stages.base import Inputs
from recast.stages.common.dataset import Contract
from recast.stages.common.int8.qdq_model import CalibrateParams, calibrate
from recast.stages.common.int8.qdq_scheme import QuantizeParams, quantize
from recast.stages.common.onnx_models import onnx_session
from recast.stages.parity.metrics import difference
from recast.stages.trunk.rewrites import simplify_process

FORMS: dict[str, dict[str, Any]] = {
    "default": {},
    "8-bit weights": {"reduce_range": False},
    "uint8 weights": {"weight_type": "uint8"},
    "int8 activations": {"activation_type": "int8"},
    "per tensor": {"per_channel": False},
}
SAMPLES = 16


def main(folder: Path, rounds: int, runs: int) -> None:
    found = {}
    for samples in sorted(folder.glob("*.calibration.npz")):
        name = samples.name.partition(".")[0]
        make(folder, name)
        x = np.load(samples)["x"][:SAMPLES]
        paths = {form: folder / f"{name}.{form}.onnx" for form in ("float", *FORMS)}
        sessions = {form: onnx_session.start(path, 1, "as_shipped") for form, path in paths.items()}
        scores = {form: run(session, x) for form, session in sessions.items()}
        for form, values in scores.items():
            np.save(folder / f"{name}.{form}.npy", values)
        times = timed(sessions, x[:1], rounds, runs)
        found[name] = {
            form: {
                "ms": times[form],
                "snr": None if form == "float" else difference(scores["float"], scores[form]).sqnr_db,
                "bytes": path.stat().st_size,
            }
            for form, path in paths.items()
        }
    print(json.dumps(found))


def make(folder: Path, name: str) -> None:
    """NAME.FORM.onnx for every form and for float, simplified."""
    model = folder / f"{name}.float.onnx"
    simplify_process.main("onnxsim", str(folder / f"{name}.onnx"), str(model), "-", "-")
    for form, scheme in FORMS.items():
        with tempfile.TemporaryDirectory() as temporary:
            place = Path(temporary)
            for stage in ("simplify", "data", "quantize", "calibrate", "scratch"):
                (place / stage).mkdir()
            shutil.copy(model, place / "simplify/model.onnx")
            samples = folder / f"{name}.calibration.npz"
            shutil.copy(samples, place / "data/calibration.npz")
            shape = np.load(samples)["x"].shape[1:]
            Contract("benchmark", shape, "float32", 1.0, (0.0,), (1.0,), ("0",)).write(place / "data")
            inputs = Inputs({stage.name: stage for stage in place.iterdir()}, scratch=place / "scratch")
            quantize(QuantizeParams(**scheme), inputs, place / "quantize")
            calibrate(CalibrateParams(batch_size=1), inputs, place / "calibrate")
            shutil.copy(place / "calibrate/model.onnx", folder / f"{name}.{form}.onnx")


def run(session: Any, x: Any) -> Any:
    """Scores of samples, one by one: the exported models have a batch of one."""
    (port,) = session.get_inputs()
    return np.concatenate([session.run(None, {port.name: sample[None]})[0] for sample in x])


def timed(sessions: dict[str, Any], x: Any, rounds: int, runs: int) -> dict[str, float]:
    """Milliseconds of an inference in the fastest round of each form, which take turns."""
    fastest = dict.fromkeys(sessions, float("inf"))
    for _ in range(rounds):
        for form, session in sessions.items():
            feed = {session.get_inputs()[0].name: x}
            session.run(None, feed)
            started = time.perf_counter()
            for _ in range(runs):
                session.run(None, feed)
            fastest[form] = min(fastest[form], (time.perf_counter() - started) * 1000 / runs)
    return fastest


def compare(folder: Path) -> None:
    same = {}
    for path in sorted(folder.glob("*.npy")):
        name = path.stem.partition(".")[0]
        x = np.load(folder / f"{name}.calibration.npz")["x"][:SAMPLES]
        session = onnx_session.start(folder / f"{path.stem}.onnx", 1, "as_shipped")
        same[path.stem] = bool(np.array_equal(run(session, x), np.load(path)))
    print(json.dumps(same))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    else:
        compare(Path(sys.argv[1]))
