"""Run the emitted model.fbz in akida's runtime over the test samples and compare it with the float model.

A fresh, unmapped copy is used: one mapped on a virtual device cannot predict.
"""

from __future__ import annotations

import json
from pathlib import Path

from stages import hops, onnx_files
from stages.akida import layers, runtime
from stages.akida.runtime import ARTIFACT, predictor
from stages.base import Inputs, Metrics, Stage
from stages.verify import CONFUSION, VerifyParams, verify


def run(params: VerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics, confusion.csv, parity.json; see `stages.verify`."""
    predict = predictor(inputs["emit"])
    return verify(params, inputs, out, predict, ARTIFACT, _steps(inputs, params.resources.cpu))


def _steps(inputs: Inputs, threads: int) -> list[hops.Step]:
    """The lowered float graph, the integer graph and the emitted model; none where emit/ is all there is."""
    from stages.dataset import read_contract

    if not all((inputs[stage] / "model.onnx").is_file() for stage in ("quantize", "calibrate")):
        return []

    contract = read_contract(inputs["data"])
    takes = json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8"))["input"]
    lowered = onnx_files.read_model(inputs["quantize"] / "model.onnx", "the lowered model")
    integers = onnx_files.read_model(inputs["calibrate"] / "model.onnx", "the integer model")
    quantized = layers.IntegerForm(integers, threads, "the integer model", contract, takes)
    emitted = layers.AkidaForm(
        runtime.load(inputs["emit"] / ARTIFACT),
        runtime.read_input(inputs["emit"]),
        contract,
        read_contract(inputs["emit"]),
        layers.scales(integers),
        {node.name: node.output[0] for node in integers.graph.node},
        onnx_files.only_output(lowered, "the lowered model").name,
    )
    return [
        hops.Step("lowered", layers.LoweredForm(lowered, threads, "the lowered model", contract, takes), "float"),
        hops.Step("quantized", quantized, "int8"),
        hops.Step("emitted", emitted, "same"),
    ]


STAGE = Stage(
    params=VerifyParams,
    inputs=("emit", "calibrate", "quantize", "simplify", "export", "data"),
    run=run,
    plots=(CONFUSION, hops.ERRORS),
)
