"""Run the emitted modules over the test samples and compare them with the float model, and with each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from recast.stages.base import Inputs, Metrics, Stage, StageError, progress
from recast.stages.common import samples
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.samples import Taken
from recast.stages.compilers import fixed_batch
from recast.stages.compilers.onnx_c import KERNELS
from recast.stages.parity.forms import compiled_form
from recast.stages.parity.forms.form import Form, OutputOnly
from recast.stages.parity.report import REPORT
from recast.stages.parity.verify import VerifyParams, plots, verify
from recast.stages.targets.wasm import form, module, node
from recast.stages.targets.wasm.project import MODULE, PLAIN_MODULE
from recast.stages.targets.wasm.runtime import predictor

Runtime = Literal["wasmtime", "node"]


class WasmVerifyParams(VerifyParams):
    """Where the module is run, and how far its variants may be apart."""

    runtimes: tuple[Runtime, ...] = Field(
        default=("wasmtime",), description="wasmtime always; node runs model.js as well, in the Node on PATH"
    )
    max_variant_error: float = Field(
        default=1e-3,
        gt=0,
        allow_inf_nan=False,
        description="largest difference of a score between module variants and runtimes, relative to the largest score",
    )
    layers: bool = Field(
        default=True, description="compile the model once more to show its layers, for recast blame; native engine only"
    )

    @field_validator("runtimes")
    @classmethod
    def _with_wasmtime(cls, runtimes: tuple[Runtime, ...]) -> tuple[Runtime, ...]:
        if "wasmtime" not in runtimes:
            raise ValueError("must hold wasmtime, in which the limits are checked")
        if len(set(runtimes)) != len(runtimes):
            raise ValueError("names a runtime twice")
        return runtimes


def run(params: WasmVerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics and what `parity.verify` writes.

    Raises StageError as `parity.verify`, for variants or runtimes that differ, and for a missing Node.
    """
    emitted = inputs["emit"]
    if "node" in params.runtimes:
        node.require()
    predict = predictor(emitted, params.resources.cpu)
    metrics = verify(
        params, inputs, out, predict, MODULE, compiled_form.chain(inputs, _form(params, inputs), params.resources.cpu)
    )
    apart = _apart(params, inputs, min(metrics["samples"], params.parity_samples))
    return {**metrics, "runtimes": list(params.runtimes), "max_variant_error": float(f"{apart:.3g}")}


def _apart(params: WasmVerifyParams, inputs: Inputs, count: int) -> float:
    """The largest difference from the SIMD module's scores, relative to the largest; StageError above the limit."""
    import numpy as np

    from recast.stages.common import dataset

    emitted = inputs["emit"]
    stored, _ = dataset.read_samples(inputs["data"], "test")
    stored = stored[:count]
    reference = predictor(emitted, params.resources.cpu)(stored)
    x = dataset.read_contract(emitted).normalise(stored)
    _steady(emitted, x)
    progress("the module without SIMD")
    others = {PLAIN_MODULE: predictor(emitted, params.resources.cpu, simd=False)(stored)}
    if "node" in params.runtimes:
        progress("model.js in Node")
        others["model.js in Node"] = node.predict(emitted, x, inputs.scratch)
    apart = {name: _relative(scores, reference) for name, scores in others.items()}
    for name, error in apart.items():
        if not error <= params.max_variant_error:
            raise StageError(
                f"{name} differs from {MODULE} under wasmtime by {error:.3g} of the largest score, above "
                f"max_variant_error {params.max_variant_error:g}",
                "report it; raise verify.max_variant_error only for an error of rounding",
            )
    return float(np.max(list(apart.values())))


def _steady(emitted: Path, x: Taken) -> None:
    """StageError unless both modules leave their input as it is, and give the same outputs for it again."""
    progress("each module twice")
    described = json.loads((emitted / "input.json").read_text(encoding="utf-8"))
    names, size = [one["name"] for one in described["inputs"]], described["batch"]
    made = {one["name"]: (one["dtype"], (size, *one["shape"])) for one in described["outputs"]}
    for file in (MODULE, PLAIN_MODULE):
        instance = module.start((emitted / file).read_bytes())
        for batch, _ in onnx_files.split(x, 1, size):
            module.run_twice(instance, samples.named(batch, names), made)


def _relative(scores: Taken, reference: Taken) -> float:
    """The largest difference of a score, relative to the largest of its output."""
    import numpy as np

    wanted = {
        name: one.astype(np.float64) for name, one in samples.parts(reference).items()
    }  # small integers would wrap
    return float(
        np.max(
            [
                float(np.abs(one.astype(np.float64) - wanted[name]).max()) / (float(np.abs(wanted[name]).max()) or 1.0)
                for name, one in samples.parts(scores).items()
            ]
        )
    )


def _form(params: WasmVerifyParams, inputs: Inputs) -> Form:
    """The emitted module; with its layers, where our compiler can show them."""
    from recast.stages.common.dataset import read_contract

    threads = params.resources.cpu
    model = onnx_files.read_model(inputs["calibrate"] / "model.onnx", "the calibrated model")
    data, emitted = read_contract(inputs["data"]), read_contract(inputs["emit"])

    def prepare(x: Taken) -> Any:
        """By the contract in the emitted folder, so that a wrong one is seen."""
        return emitted.normalise(data.stored(x))

    report = json.loads((inputs["emit"] / "report.json").read_text(encoding="utf-8"))
    if params.layers and report["engine"] == "native":
        fixed = fixed_batch.fix(model, report["batch"])
        return form.WasmForm(fixed, threads, "the emitted model", inputs.scratch, prepare)
    outputs = [port.name for port in onnx_files.outputs_of(model)]
    predict = predictor(inputs["emit"], threads)
    return OutputOnly(lambda x: predict(data.stored(x)), outputs, "the emitted module under wasmtime")


STAGE = Stage(
    params=WasmVerifyParams,
    inputs=("emit", "calibrate", "quantize", "simplify", "export", "data"),
    run=run,
    sources=(KERNELS,),
    plots=plots,
    reports=REPORT,
)
