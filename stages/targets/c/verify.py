"""Compile the emitted C and run it over the test samples, and compare it with the float model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recast.stages.base import Inputs, Metrics, Stage, progress
from recast.stages.common import shipped_size
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.samples import Taken
from recast.stages.parity.forms import compiled_form
from recast.stages.parity.forms.form import OutputOnly
from recast.stages.parity.report import REPORT
from recast.stages.parity.verify import VerifyParams, plots, verify
from recast.stages.targets.c import runtime
from recast.stages.targets.c.project import ARTIFACT, SHIPS


def run(params: VerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics and what `parity.verify` writes.

    Raises StageError as `parity.verify`, and for C that is not strict C99.
    """
    from recast.stages.common.dataset import read_contract

    progress("compile")
    score = runtime.scorer(inputs["emit"], inputs.scratch)
    samples, emitted = read_contract(inputs["data"]), read_contract(inputs["emit"])

    def predict(stored: Taken) -> Any:
        return score(emitted.normalise(stored))

    outputs = [port.name for port in onnx_files.outputs_of(onnx_files.read_model(inputs["calibrate"] / "model.onnx"))]
    form = OutputOnly(lambda x: predict(samples.stored(x)), outputs, "the emitted C, compiled for this machine")
    chain = compiled_form.chain(inputs, form, params.resources.cpu)
    metrics = verify(params, inputs, out, predict, ARTIFACT, chain)
    return {**metrics, "size_bytes": shipped_size.size(inputs["emit"], SHIPS)}


STAGE = Stage(
    params=VerifyParams,
    inputs=("emit", "calibrate", "quantize", "simplify", "export", "data"),
    run=run,
    plots=plots,
    reports=REPORT,
)
