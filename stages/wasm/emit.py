"""Emit the folder a user ships: two WebAssembly modules, clients for browsers, Node and Python, and a page.

Both modules are compared with onnxruntime before anything is written. Deterministic: the compiler writes the same C
for the same model, and zig the same bytes for the same C.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages import onnx_files
from stages.base import Inputs, Metrics, Params, RepositoryPath, Stage, StageError, progress
from stages.wasm import check, graph_batch, page
from stages.wasm.engine import Engine, build
from stages.wasm.module import predictor
from stages.wasm.project import COPIED, MODULE, PLAIN_MODULE, README

if TYPE_CHECKING:
    from stages.dataset import Contract

MAX_ERROR = {"float32": 1e-3, "int8": 5e-2}


class EmitParams(Params):
    """How the model is compiled, and how close its module must come to onnxruntime."""

    engine: Engine = Field(
        default="auto",
        description="native: our compiler; emx: emx-onnx-cgen; auto: native, and emx for what it does not know",
    )
    batch: int = Field(default=1, ge=1, description="samples the module computes at once")
    max_error: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="largest error of a score against onnxruntime, relative to the largest score; "
        "unset: 0.001, for int8 0.05, since values halfway between two steps may round either way",
    )
    check_samples: int = Field(default=8, ge=1, description="calibration samples both modules are checked on")
    check_random: int = Field(default=8, ge=0, description="random inputs both modules are checked on as well")
    page_samples: int = Field(default=10, ge=1, description="samples in index.html, at most one of each class")
    clients: RepositoryPath = Field(description="folder of the clients that are emitted; a change runs emit again")
    kernels: RepositoryPath = Field(description="folder of the compiler's C; a change runs emit again")


def run(params: EmitParams, inputs: Inputs, out: Path) -> Metrics:
    """calibrate/model.onnx, the scheme and the data -> the folder; see `stages.wasm.project`.

    Raises StageError for a model that no engine can compile, naming node, operator and opset, and for a module that
    differs from onnxruntime, naming the first tensor that does.
    """
    from stages import dataset

    contract = dataset.read_contract(inputs["data"])
    scheme = json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8"))["scheme"]
    model = graph_batch.fix(onnx_files.read_model(inputs["calibrate"] / "model.onnx"), params.batch)
    taken = onnx_files.only_input(model, "the model")
    if taken.shape[1:] != contract.shape or taken.element_type != onnx_files.FLOAT:
        raise StageError(
            f"the model takes {taken.shape[1:]}, and the data has samples of {contract.shape}",
            "give the model float32 samples of the data's shape",
        )
    samples, _ = dataset.read(inputs["data"], "calibration")
    checked = check.checker(
        model,
        samples[: params.check_samples],
        params.check_random,
        MAX_ERROR[scheme] if params.max_error is None else params.max_error,
        params.resources.cpu,
    )
    built = build(model, params.engine, params.batch, inputs.scratch)
    native = built.report["engine"] == "native"

    def first_layer() -> str:
        few = checked.x[: params.batch]
        return check.first_wrong_layer(model, few, checked.limit, params.resources.cpu, inputs.scratch) if native else ""

    progress("compare with onnxruntime")
    errors = {
        file: checked.error(predictor(content, model), file, first_layer)
        for file, content in ((MODULE, built.simd), (PLAIN_MODULE, built.plain))
    }

    described = _describe(contract, model, params.batch)
    (out / MODULE).write_bytes(built.simd)
    (out / PLAIN_MODULE).write_bytes(built.plain)
    for name in COPIED:
        shutil.copyfile(inputs.files["clients"] / name, out / name)
    (out / "input.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    report = {
        **built.report,
        "scheme": scheme,
        "batch": params.batch,
        "size_bytes": {MODULE: len(built.simd), PLAIN_MODULE: len(built.plain)},
        "error": {file: float(f"{error:.3g}") for file, error in errors.items()},
        "max_error": checked.limit,
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    stored, labels = dataset.read_stored(inputs["data"], "test")
    page.write(
        inputs.files["clients"],
        described,
        built.simd,
        page.choose(contract, stored, labels, params.page_samples),
        f"{scheme}, compiled by {built.report['engine'] if not native else 'Recast'}.",
        out / "index.html",
    )
    (out / "README.md").write_text(_readme(contract, report, described), encoding="utf-8")
    return {
        "engine": built.report["engine"],
        "size_bytes": len(built.simd),
        "size_bytes_nosimd": len(built.plain),
        "max_error": max(report["error"].values()),
        "batch": params.batch,
    }


def _describe(contract: Contract, model: onnx_files.Model, batch: int) -> dict[str, Any]:
    """The data's contract, and what the module takes and gives."""
    taken, made = onnx_files.only_input(model, "the model"), onnx_files.only_output(model, "the model")
    return {
        **asdict(contract),
        "layout": "nchw" if len(contract.shape) == 3 else "features",
        "batch": batch,
        "input": {"name": taken.name, "shape": list(taken.shape), "dtype": "float32"},
        "output": {"name": made.name, "shape": list(made.shape), "dtype": "float32"},
    }


def _readme(contract: Contract, report: dict[str, Any], described: dict[str, Any]) -> str:
    return README.format(
        dataset=contract.dataset,
        scheme=report["scheme"],
        size=report["size_bytes"][MODULE],
        plain_size=report["size_bytes"][PLAIN_MODULE],
        engine=report["engine"],
        shape=", ".join(map(str, contract.shape)),
        classes=len(contract.classes),
        divisor=contract.divisor,
        mean=list(contract.mean),
        std=list(contract.std),
        batch=described["batch"],
    )


STAGE = Stage(params=EmitParams, inputs=("calibrate", "quantize", "data"), run=run, emits=MODULE)
