"""Run the emitted model.fbz in akida's runtime over the test samples and compare it with the float model.

A fresh, unmapped copy is used: one mapped on a virtual device cannot predict.
"""

from __future__ import annotations

import json
from pathlib import Path

from recast.stages.base import Inputs, Metrics, Stage
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.forms.form import Form, NamedForm
from recast.stages.parity.report import REPORT
from recast.stages.parity.verify import VerifyParams, plots, verify
from recast.stages.targets.akida import form, runtime
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida.laid_out import LaidOutForm
from recast.stages.targets.akida.runtime import ARTIFACT, predictor


def run(params: VerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics, tables, parity.json; see `parity.verify`."""
    predict = predictor(inputs["emit"])
    return verify(params, inputs, out, predict, ARTIFACT, chain(inputs, params.resources.cpu))


def chain(inputs: Inputs, threads: int) -> list[NamedForm]:
    """The lowered float graph, the integer graph and the emitted model; none where emit/ is all there is."""
    from recast.stages.common.dataset import read_contract

    if not all((inputs[stage] / "model.onnx").is_file() for stage in ("quantize", "calibrate")):
        return []

    contract = read_contract(inputs["data"])
    scheme = json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8"))
    takes, layout = scheme["input"], layouts.read(scheme["layout"])
    lowered = onnx_files.read_model(inputs["quantize"] / "model.onnx", "the lowered model")
    integers = onnx_files.read_model(inputs["calibrate"] / "model.onnx", "the integer model")
    floats = form.LoweredForm(lowered, threads, "the lowered model", contract, takes, layout.start)
    quantized = form.IntegerForm(integers, threads, "the integer model", contract, takes, layout.start)
    emitted = form.AkidaForm(
        runtime.load(inputs["emit"] / ARTIFACT),
        runtime.read_input(inputs["emit"]),
        contract,
        read_contract(inputs["emit"]),
        form.scales(integers),
        {node.name: node.output[0] for node in integers.graph.node},
        onnx_files.only_output(lowered, "the lowered model").name,
    )

    def shown(one: Form) -> Form:
        return one if layout.is_plain else LaidOutForm(one, layout)

    return [
        NamedForm("lowered", shown(floats), "float"),
        NamedForm("quantized", shown(quantized), "int8"),
        NamedForm("emitted", shown(emitted), "same"),
    ]


STAGE = Stage(
    params=VerifyParams,
    inputs=("emit", "calibrate", "quantize", "simplify", "export", "data"),
    run=run,
    plots=plots,
    reports=REPORT,
)
