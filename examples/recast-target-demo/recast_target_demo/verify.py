"""Run the emitted text in NumPy over test samples and compare it with the float model."""

from __future__ import annotations

from pathlib import Path

from recast.stages.base import Inputs, Metrics, Stage
from recast.stages.parity.report import REPORT
from recast.stages.parity.verify import VerifyParams, plots, verify
from recast_target_demo.emit import ARTIFACT, WEIGHTS


def run(params: VerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, simplify/model.onnx and the test split -> metrics and tables; see `recast.stages.parity.verify`."""
    import numpy as np
    from onnx import parser, reference

    from recast.stages.common.dataset import read_contract

    contract = read_contract(inputs["emit"])
    model = reference.ReferenceEvaluator(parser.parse_model((inputs["emit"] / ARTIFACT).read_text(encoding="utf-8")))
    weights = dict(np.load(inputs["emit"] / WEIGHTS))
    (name,) = set(model.input_names) - set(weights)

    def predict(stored: np.ndarray) -> np.ndarray:
        return model.run(None, {name: contract.normalise(stored), **weights})[0]

    return verify(params, inputs, out, predict, ARTIFACT, runs="ONNX's reference implementation in NumPy, as a whole")


STAGE = Stage(params=VerifyParams, inputs=("emit", "simplify", "data"), run=run, plots=plots, reports=REPORT)
