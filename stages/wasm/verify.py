"""Run the emitted modules over the test samples and compare them with the float model, and with each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from stages import hops, onnx_files
from stages.base import Inputs, Metrics, RepositoryPath, Stage, StageError, progress
from stages.verify import CONFUSION, VerifyParams, verify
from stages.wasm import forms, graph_batch, module, node
from stages.wasm.project import MODULE, PLAIN_MODULE
from stages.wasm.runtime import predictor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    kernels: RepositoryPath = Field(description="folder of the compiler's C; a change runs verify again")

    @field_validator("runtimes")
    @classmethod
    def _with_wasmtime(cls, runtimes: tuple[Runtime, ...]) -> tuple[Runtime, ...]:
        if "wasmtime" not in runtimes:
            raise ValueError("must hold wasmtime, in which the limits are checked")
        if len(set(runtimes)) != len(runtimes):
            raise ValueError("names a runtime twice")
        return runtimes


def run(params: WasmVerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics and what `stages.verify` writes.

    Raises StageError as `stages.verify`, for variants or runtimes that differ, and for a missing Node.
    """
    emitted = inputs["emit"]
    if "node" in params.runtimes:
        node.require()
    predict = predictor(emitted, params.resources.cpu)
    metrics = verify(
        params, inputs, out, predict, MODULE, forms.steps(inputs, _form(params, inputs), params.resources.cpu)
    )
    apart = _apart(params, inputs, min(metrics["samples"], params.parity_samples))
    return {**metrics, "runtimes": list(params.runtimes), "max_variant_error": float(f"{apart:.3g}")}


def _apart(params: WasmVerifyParams, inputs: Inputs, samples: int) -> float:
    """The largest difference from the SIMD module's scores, relative to the largest; StageError above the limit."""
    import numpy as np

    from stages import dataset

    emitted = inputs["emit"]
    stored, _ = dataset.read_stored(inputs["data"], "test")
    stored = stored[:samples]
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


def _steady(emitted: Path, x: NDArray[np.float32]) -> None:
    """StageError unless both modules leave their input as it is, and give the same scores for it again."""
    progress("each module twice")
    described = json.loads((emitted / "input.json").read_text(encoding="utf-8"))
    for file in (MODULE, PLAIN_MODULE):
        instance = module.start((emitted / file).read_bytes())
        for batch, _ in onnx_files.split(x, 1, described["batch"]):
            module.run_twice(instance, batch, tuple(described["output"]["shape"]))


def _relative(scores: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    import numpy as np

    return float(np.abs(scores - reference).max()) / (float(np.abs(reference).max()) or 1.0)


def _form(params: WasmVerifyParams, inputs: Inputs) -> hops.Form:
    """The emitted module; with its layers, where our compiler can show them."""
    from stages.dataset import read_contract

    threads = params.resources.cpu
    model = onnx_files.read_model(inputs["calibrate"] / "model.onnx", "the calibrated model")
    samples, emitted = read_contract(inputs["data"]), read_contract(inputs["emit"])

    def prepare(x: NDArray[Any]) -> NDArray[Any]:
        """By the contract in the emitted folder, so that a wrong one is seen."""
        return emitted.normalise(samples.stored(x))

    report = json.loads((inputs["emit"] / "report.json").read_text(encoding="utf-8"))
    if params.layers and report["engine"] == "native":
        fixed = graph_batch.fix(model, report["batch"])
        return forms.WasmForm(fixed, threads, "the emitted model", inputs.scratch, prepare)
    output = onnx_files.only_output(model, "the calibrated model").name
    predict = predictor(inputs["emit"], threads)
    return hops.OutputOnly(lambda x: predict(samples.stored(x)), output, "the emitted module under wasmtime")


STAGE = Stage(
    params=WasmVerifyParams,
    inputs=("emit", "calibrate", "quantize", "simplify", "export", "data"),
    run=run,
    plots=(CONFUSION, hops.ERRORS),
)
