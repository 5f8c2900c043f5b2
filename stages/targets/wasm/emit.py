"""Emit the folder a user ships: two WebAssembly modules, clients for browsers, Node and Python, and a page.

Both modules are compared with onnxruntime before anything is written. Deterministic: the compiler writes the same C
for the same model, and zig the same bytes for the same C.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Stage, progress
from recast.stages.compilers import emit_inputs
from recast.stages.compilers.onnx_c import KERNELS
from recast.stages.targets.wasm import page
from recast.stages.targets.wasm.engine import Engine, build
from recast.stages.targets.wasm.form import WasmForm
from recast.stages.targets.wasm.module import predictor
from recast.stages.targets.wasm.project import CLIENTS, COPIED, MODULE, PLAIN_MODULE, readme


class EmitParams(emit_inputs.CompileParams):
    """Which engine compiles the model, and what lies beside the module."""

    engine: Engine = Field(
        default="auto",
        description="native: our compiler; emx: emx-onnx-cgen; auto: native, and emx for what it does not know",
    )
    page_samples: int = Field(default=10, ge=1, description="samples in index.html, at most one of each class")


def run(params: EmitParams, inputs: Inputs, out: Path) -> Metrics:
    """calibrate/model.onnx, the scheme and the data -> the folder; see `recast.stages.targets.wasm.project`.

    Raises StageError for a model that no engine can compile, naming node, operator and opset, and for a module that
    differs from onnxruntime, naming the first tensor that does.
    """
    from recast.stages.common import dataset

    given = emit_inputs.read(params, inputs)
    built = build(given.model, params.engine, params.batch, inputs.scratch)
    native = built.report["engine"] == "native"

    def first_layer(worst: int) -> str:
        if not native:
            return ""
        form = WasmForm(given.model, params.resources.cpu, "the module", inputs.scratch)
        return form.first_wrong_layer(given.checker.batch_of(worst, params.batch), given.checker.limit)

    progress("compare with onnxruntime")
    errors = {
        file: given.checker.error(predictor(content, given.model), file, first_layer)
        for file, content in ((MODULE, built.simd), (PLAIN_MODULE, built.plain))
    }

    described = given.described(params.batch)
    (out / MODULE).write_bytes(built.simd)
    (out / PLAIN_MODULE).write_bytes(built.plain)
    for name in COPIED:
        shutil.copyfile(inputs.sources["clients"] / name, out / name)
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
    stored, labels = dataset.read_samples(inputs["data"], "test")
    page.write(
        inputs.sources["clients"],
        described,
        built.simd,
        page.choose(given.contract, stored, labels, params.page_samples),
        f"{given.scheme}, compiled by {'Recast' if native else built.report['engine']}.",
        out / "index.html",
    )
    text = readme(given.readme("N"), given.contract, report, page.takes(given.contract))
    (out / "README.md").write_text(text, encoding="utf-8")
    return {
        "engine": built.report["engine"],
        "size_bytes": len(built.simd),
        "size_bytes_nosimd": len(built.plain),
        "max_error": max(report["error"].values()),
        "batch": params.batch,
    }


STAGE = Stage(
    params=EmitParams,
    inputs=("calibrate", "quantize", "data"),
    run=run,
    sources=(CLIENTS, KERNELS),
    emits=MODULE,
)
