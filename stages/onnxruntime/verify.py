"""Run the emitted int8 model in onnxruntime over the test samples and compare it with the float model."""

from __future__ import annotations

from pathlib import Path

from stages.base import Inputs, Metrics, Stage
from stages.onnxruntime.runtime import ARTIFACT, predictor
from stages.verify import CONFUSION, VerifyParams, verify


def run(params: VerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, simplify/model.onnx and the test split -> metrics and confusion.csv; see `stages.verify`."""
    return verify(params, inputs, out, predictor(inputs["emit"], params.resources.cpu), ARTIFACT)


STAGE = Stage(params=VerifyParams, inputs=("emit", "simplify", "data"), run=run, plots=(CONFUSION,))
