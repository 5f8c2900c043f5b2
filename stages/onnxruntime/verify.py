"""Run the emitted int8 model in onnxruntime over the test samples and compare it with the float model."""

from __future__ import annotations

from pathlib import Path

from stages import hops, onnx_files
from stages.base import Inputs, Metrics, Stage
from stages.fused_form import FusedForm
from stages.onnx_form import OnnxForm
from stages.onnxruntime.runtime import ARTIFACT, predictor
from stages.parity import Kind
from stages.verify import CONFUSION, VerifyParams, verify

FORMS: tuple[tuple[str, str, Kind], ...] = (("prepared", "quantize", "float"), ("quantized", "calibrate", "int8"))
"""what the stages before `emit` make of the model, and what may change in it"""


def run(params: VerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics, confusion.csv, parity.json; see `stages.verify`."""
    from stages.dataset import read_contract

    threads = params.resources.cpu
    samples, emitted = read_contract(inputs["data"]), read_contract(inputs["emit"])
    steps = [
        hops.Step(name, OnnxForm(_model(name, inputs[stage]), threads, f"the {name} model"), kind)
        for name, stage, kind in FORMS
        if _made(inputs[stage])
    ]
    copied = any(step.name == "quantized" for step in steps)
    shown = FusedForm(
        _model("emitted", inputs["emit"]),
        threads,
        "the emitted model",
        # by the contract in the emitted folder, so that a wrong one is seen
        lambda x: emitted.normalise(samples.stored(x)),
    )
    steps.append(hops.Step("emitted", shown, "same" if copied else "int8"))
    return verify(params, inputs, out, predictor(inputs["emit"], threads), ARTIFACT, steps)


def _made(folder: Path) -> bool:
    """Only emit/ is needed: what lies before it shows more of where an error comes from."""
    return (folder / "model.onnx").is_file()


def _model(name: str, folder: Path) -> onnx_files.Model:
    return onnx_files.read_model(folder / "model.onnx", f"the {name} model")


STAGE = Stage(
    params=VerifyParams,
    inputs=("emit", "calibrate", "quantize", "simplify", "export", "data"),
    run=run,
    plots=(CONFUSION, hops.ERRORS),
)
