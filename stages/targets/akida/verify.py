"""Run the emitted model.fbz in akida's runtime over the test samples and compare it with the float model.

A fresh, unmapped copy is used: one mapped on a virtual device cannot predict. What of the activations is zero, and how
much work that leaves, is counted on the first test samples.
"""

from __future__ import annotations

import json
from pathlib import Path

from recast.stages.base import Inputs, Metrics, Plot, Stage
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.forms.form import Form, NamedForm
from recast.stages.parity.report import REPORT
from recast.stages.parity.verify import VerifyParams, verify
from recast.stages.parity.verify import plots as plots_of_all
from recast.stages.targets.akida import activity, form, runtime
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida.laid_out import LaidOutForm
from recast.stages.targets.akida.runtime import ARTIFACT, predictor

ACTIVITY_SAMPLES = 32
"""on which activations are counted, at most: each layer is run anew for them"""


def run(params: VerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics, activity_by_layer.csv, and as `parity.verify` says."""
    predict = predictor(inputs["emit"])
    found = _activity(params, inputs)
    activity.write(found, out / activity.ACTIVITY.file)
    measured = verify(params, inputs, out, predict, ARTIFACT, chain(inputs, params.resources.cpu))
    return {**measured, **activity.metrics(found)}


def plots(params: VerifyParams) -> tuple[Plot, ...]:
    """Those of every target, and the zeros by layer."""
    return (*plots_of_all(params), activity.ACTIVITY)


def _activity(params: VerifyParams, inputs: Inputs) -> list[activity.Activity]:
    from recast.stages.common import dataset

    contract, akida_input = dataset.read_contract(inputs["emit"]), runtime.read_input(inputs["emit"])
    stored = dataset.read_stored(inputs["data"], "test")[0][: min(ACTIVITY_SAMPLES, params.parity_samples)]
    taken = akida_input.prepare(stored, contract.normalise(stored))
    return activity.measure(runtime.load(inputs["emit"] / ARTIFACT), taken)


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
