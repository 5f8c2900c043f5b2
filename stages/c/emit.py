"""Emit the folder a user compiles: the model as C99, an example program, and the input contract.

It is compiled, and compared with onnxruntime before anything is called emitted. Deterministic: the compiler
writes the same C for the same model.
"""

from __future__ import annotations

import json
from pathlib import Path

from stages import shipped
from stages.base import Inputs, Metrics, Stage, progress
from stages.c import native
from stages.c.project import ARTIFACT, MAIN, README, SHIPS
from stages.wasm import calibrated, check


def run(params: calibrated.CompileParams, inputs: Inputs, out: Path) -> Metrics:
    """calibrate/model.onnx, the scheme and the data -> the folder; see `stages.c.project`.

    Raises StageError for a model the compiler does not know, naming node, operator and opset, for C that is not strict
    C99, and for C that differs from onnxruntime, naming the first tensor that does.
    """
    from stages.wasm.compiler.build import write
    from stages.wasm.compiler.compile import Options, generate

    given = calibrated.read(params, inputs)
    progress("generate C")
    sources = generate(given.model, Options(batch=params.batch))
    write(sources, out)
    (out / "main.c").write_text(MAIN.format(batch=params.batch), encoding="utf-8")
    described = given.described(params.batch)
    (out / "input.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")

    def first_layer() -> str:
        few = given.checker.x[: params.batch]
        return check.first_wrong_layer(given.model, few, given.checker.limit, params.resources.cpu, inputs.scratch)

    progress("compile and compare with onnxruntime")
    error = float(f"{given.checker.error(native.scorer(out, inputs.scratch, native.OURS), ARTIFACT, first_layer):.3g}")
    report = {
        **sources.report,
        "scheme": given.scheme,
        "batch": params.batch,
        "error": error,
        "max_error": given.checker.limit,
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    contract = given.contract
    readme = README.format(
        dataset=contract.dataset,
        scheme=given.scheme,
        batch=params.batch,
        shape=", ".join(map(str, contract.shape)),
        classes=len(contract.classes),
        divisor=contract.divisor,
        mean=list(contract.mean),
        std=list(contract.std),
    )
    (out / "README.md").write_text(readme, encoding="utf-8")
    return {
        "size_bytes": shipped.size(out, SHIPS),
        "memory_bytes": sources.report["memory_bytes"],
        "weights_bytes": sources.report["weights_bytes"],
        "max_error": error,
        "batch": params.batch,
    }


STAGE = Stage(
    params=calibrated.CompileParams, inputs=("calibrate", "quantize", "data"), run=run, emits=ARTIFACT, ships=SHIPS
)
