"""Run the emitted model.fbz in akida's runtime over the test samples and compare it with the float model.

A fresh, unmapped copy is used: one mapped on a virtual device cannot predict. What of the activations is zero, and how
much work that leaves, is counted on the first test samples.
"""

from __future__ import annotations

import json
from pathlib import Path

from recast.stages.base import Inputs, Metrics, Plot, Stage
from recast.stages.common import shipped_size
from recast.stages.parity.forms.form import NamedForm
from recast.stages.parity.report import REPORT
from recast.stages.parity.verify import VerifyParams, verify
from recast.stages.parity.verify import plots as plots_of_all
from recast.stages.targets.akida import activity, model_forms, runtime
from recast.stages.targets.akida.hybrid import chain, forms, parts
from recast.stages.targets.akida.runtime import ARTIFACT, SHIPS

ACTIVITY_SAMPLES = 32
"""on which activations are counted, at most: each layer is run anew for them"""


def run(params: VerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics, activity_by_layer.csv, and as `parity.verify` says."""
    threads, in_parts = params.resources.cpu, parts.are_in(inputs["emit"])
    predict = chain.predictor(inputs["emit"], threads)
    found = _activity(params, inputs)
    activity.write(found, out / activity.ACTIVITY.file)
    of_forms = forms.of_parts(inputs, threads) if in_parts else of_whole(inputs, threads)
    measured = verify(params, inputs, out, predict, ARTIFACT, of_forms)
    return {**measured, **activity.metrics(found), "size_bytes": shipped_size.size(inputs["emit"], SHIPS)}


def plots(params: VerifyParams) -> tuple[Plot, ...]:
    """Those of every target, and the zeros by layer."""
    return (*plots_of_all(params), activity.ACTIVITY)


def _activity(params: VerifyParams, inputs: Inputs) -> list[activity.Activity]:
    from recast.stages.common import dataset

    contract = dataset.read_contract(inputs["emit"])
    stored = dataset.read_stored(inputs["data"], "test")[0][: min(ACTIVITY_SAMPLES, params.parity_samples)]
    normalised = contract.normalise(stored)
    if parts.are_in(inputs["emit"]):
        made = chain.Chain(inputs["emit"], params.resources.cpu)
        return [one for taken, model in made.taken(stored, normalised) for one in activity.measure(model, taken)]
    taken = runtime.read_input(inputs["emit"]).prepare(stored, normalised)
    return activity.measure(runtime.load(inputs["emit"] / ARTIFACT), taken)


def of_whole(inputs: Inputs, threads: int) -> list[NamedForm]:
    """The lowered float graph, the integer graph and the emitted model; none where emit/ is all there is."""
    from recast.stages.common.dataset import read_contract

    if not all((inputs[stage] / "model.onnx").is_file() for stage in ("quantize", "calibrate")):
        return []

    return model_forms.of_model(
        inputs["quantize"],
        inputs["calibrate"],
        json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8")),
        runtime.load(inputs["emit"] / ARTIFACT),
        runtime.read_input(inputs["emit"]),
        (read_contract(inputs["data"]), read_contract(inputs["emit"])),
        threads,
    )


STAGE = Stage(
    params=VerifyParams,
    inputs=("emit", "calibrate", "quantize", "simplify", "export", "data"),
    run=run,
    plots=plots,
    reports=REPORT,
)
