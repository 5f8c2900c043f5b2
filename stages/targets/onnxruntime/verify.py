"""Run the emitted int8 model in onnxruntime over the test samples and compare it with the float model."""

from __future__ import annotations

from pathlib import Path

from recast.stages.base import Inputs, Metrics, Stage
from recast.stages.common.onnx_models import cpu, onnx_files, saturation
from recast.stages.parity.forms.form import NamedForm
from recast.stages.parity.forms.fused_form import FusedForm
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.parity.metrics import Kind
from recast.stages.parity.report import REPORT
from recast.stages.parity.verify import VerifyParams, plots, verify
from recast.stages.targets.onnxruntime.runtime import ARTIFACT, predictor

FORMS: tuple[tuple[str, str, Kind], ...] = (("prepared", "quantize", "float"), ("quantized", "calibrate", "int8"))
"""what the stages before `emit` make of the model, and what may change in it"""


def run(params: VerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics, tables, parity.json; see `parity.verify`."""
    from recast.stages.common.dataset import read_contract

    threads = params.resources.cpu
    samples, emitted = read_contract(inputs["data"]), read_contract(inputs["emit"])
    forms = [
        NamedForm(name, OnnxForm(_model(name, inputs[stage]), threads, f"the {name} model"), kind)
        for name, stage, kind in FORMS
        if _made(inputs[stage])
    ]
    copied = any(form.name == "quantized" for form in forms)
    model = _model("emitted", inputs["emit"])
    shown = FusedForm(
        model,
        threads,
        "the emitted model",
        # by the contract in the emitted folder, so that a wrong one is seen
        lambda x: emitted.normalise(samples.stored(x)),
    )
    forms.append(NamedForm("emitted", shown, "same" if copied else "int8", may_differ=_may_differ(model)))
    return verify(params, inputs, out, predictor(inputs["emit"], threads), ARTIFACT, forms)


def _may_differ(model: onnx_files.Model) -> str:
    """Why the model may give other scores here than it is meant to: `emit` refuses such a one, unless that is allowed.

    Empty where it cannot.
    """
    saturates = saturation.products(model) and cpu.sums_saturate()
    return "emit.allow_saturation lets sums of products be cut on a CPU without VNNI, as this one" if saturates else ""


def _made(folder: Path) -> bool:
    """Only emit/ is needed: what lies before it shows more of where an error comes from."""
    return (folder / "model.onnx").is_file()


def _model(name: str, folder: Path) -> onnx_files.Model:
    return onnx_files.read_model(folder / "model.onnx", f"the {name} model")


STAGE = Stage(
    params=VerifyParams,
    inputs=("emit", "calibrate", "quantize", "simplify", "export", "data"),
    run=run,
    plots=plots,
    reports=REPORT,
)
