"""Emit the folder a user ships: two WebAssembly modules, clients for browsers, Node and Python, and a page.

Both modules are compared with onnxruntime before anything is written. Deterministic: the compiler writes the same C
for the same model, and zig the same bytes for the same C.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages.base import Inputs, Metrics, RepositoryPath, Stage, progress
from stages.wasm import calibrated, check, page
from stages.wasm.engine import Engine, build
from stages.wasm.module import predictor
from stages.wasm.project import COPIED, MODULE, PLAIN_MODULE, README

if TYPE_CHECKING:
    from stages.dataset import Contract


class EmitParams(calibrated.CompileParams):
    """Which engine compiles the model, and what lies beside the module."""

    engine: Engine = Field(
        default="auto",
        description="native: our compiler; emx: emx-onnx-cgen; auto: native, and emx for what it does not know",
    )
    page_samples: int = Field(default=10, ge=1, description="samples in index.html, at most one of each class")
    clients: RepositoryPath = Field(description="folder of the clients that are emitted; a change runs emit again")


def run(params: EmitParams, inputs: Inputs, out: Path) -> Metrics:
    """calibrate/model.onnx, the scheme and the data -> the folder; see `stages.wasm.project`.

    Raises StageError for a model that no engine can compile, naming node, operator and opset, and for a module that
    differs from onnxruntime, naming the first tensor that does.
    """
    from stages import dataset

    given = calibrated.read(params, inputs)
    built = build(given.model, params.engine, params.batch, inputs.scratch)
    native = built.report["engine"] == "native"

    def first_layer() -> str:
        few = given.checker.x[: params.batch]
        cpu, limit = params.resources.cpu, given.checker.limit
        return check.first_wrong_layer(given.model, few, limit, cpu, inputs.scratch) if native else ""

    progress("compare with onnxruntime")
    errors = {
        file: given.checker.error(predictor(content, given.model), file, first_layer)
        for file, content in ((MODULE, built.simd), (PLAIN_MODULE, built.plain))
    }

    described = given.described(params.batch)
    (out / MODULE).write_bytes(built.simd)
    (out / PLAIN_MODULE).write_bytes(built.plain)
    for name in COPIED:
        shutil.copyfile(inputs.files["clients"] / name, out / name)
    (out / "input.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    report = {
        **built.report,
        "scheme": given.scheme,
        "batch": params.batch,
        "size_bytes": {MODULE: len(built.simd), PLAIN_MODULE: len(built.plain)},
        "error": {file: float(f"{error:.3g}") for file, error in errors.items()},
        "max_error": given.checker.limit,
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    stored, labels = dataset.read_stored(inputs["data"], "test")
    page.write(
        inputs.files["clients"],
        described,
        built.simd,
        page.choose(given.contract, stored, labels, params.page_samples),
        f"{given.scheme}, compiled by {'Recast' if native else built.report['engine']}.",
        out / "index.html",
    )
    (out / "README.md").write_text(_readme(given.contract, report), encoding="utf-8")
    return {
        "engine": built.report["engine"],
        "size_bytes": len(built.simd),
        "size_bytes_nosimd": len(built.plain),
        "max_error": max(report["error"].values()),
        "batch": params.batch,
    }


def _readme(contract: Contract, report: dict[str, Any]) -> str:
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
        batch=report["batch"],
    )


STAGE = Stage(params=EmitParams, inputs=("calibrate", "quantize", "data"), run=run, emits=MODULE)
