"""Compile the emitted C and run it over the test samples, and compare it with the float model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import hops, onnx_files, shipped
from stages.base import Inputs, Metrics, Stage, progress
from stages.c import native
from stages.c.project import ARTIFACT, SHIPS
from stages.verify import CONFUSION, VerifyParams, verify
from stages.wasm import forms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def run(params: VerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics and what `stages.verify` writes.

    Raises StageError as `stages.verify`, and for C that is not strict C99.
    """
    from stages.dataset import read_contract

    progress("compile")
    score = native.scorer(inputs["emit"], inputs.scratch)
    samples, emitted = read_contract(inputs["data"]), read_contract(inputs["emit"])

    def predict(stored: NDArray[Any]) -> NDArray[np.float32]:
        return score(emitted.normalise(stored))

    output = onnx_files.only_output(onnx_files.read_model(inputs["calibrate"] / "model.onnx"), "the model").name
    form = hops.OutputOnly(lambda x: predict(samples.stored(x)), output, "the emitted C, compiled for this machine")
    steps = forms.steps(inputs, form, params.resources.cpu)
    metrics = verify(params, inputs, out, predict, ARTIFACT, steps)
    return {**metrics, "size_bytes": shipped.size(inputs["emit"], SHIPS)}


STAGE = Stage(
    params=VerifyParams,
    inputs=("emit", "calibrate", "quantize", "simplify", "export", "data"),
    run=run,
    plots=(CONFUSION, hops.ERRORS),
)
