"""Run the emitted model.fbz in akida's runtime over the test samples and compare it with the float model.

A fresh, unmapped copy is used: one mapped on a virtual device cannot predict.
"""

from __future__ import annotations

from pathlib import Path

from stages.akida.runtime import ARTIFACT, predictor
from stages.base import Inputs, Metrics, Stage
from stages.verify import CONFUSION, VerifyParams, verify


def run(params: VerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, simplify/model.onnx and the test split -> metrics and confusion.csv; see `stages.verify`."""
    return verify(params, inputs, out, predictor(inputs["emit"]), ARTIFACT)


STAGE = Stage(params=VerifyParams, inputs=("emit", "simplify", "data"), run=run, plots=(CONFUSION,))
