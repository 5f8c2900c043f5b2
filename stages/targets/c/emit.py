"""Emit the folder a user compiles: the model as C99, an example program, and the input contract.

It is compiled, and compared with onnxruntime before anything is called emitted. Deterministic: the compiler
writes the same C for the same model.
"""

from __future__ import annotations

import json
from pathlib import Path

from recast.stages.base import Inputs, Metrics, Stage, progress
from recast.stages.common import shipped_size
from recast.stages.compilers import emit_inputs
from recast.stages.compilers.onnx_c import KERNELS
from recast.stages.targets.c import runtime
from recast.stages.targets.c.form import NativeForm
from recast.stages.targets.c.project import ARTIFACT, SHIPS, main_c, readme


def run(params: emit_inputs.CompileParams, inputs: Inputs, out: Path) -> Metrics:
    """calibrate/model.onnx, the scheme and the data -> the folder; see `recast.stages.targets.c.project`.

    Raises StageError for a model the compiler does not know, naming node, operator and opset, for C that is not strict
    C99, and for C that differs from onnxruntime, naming the first tensor that does.
    """
    from recast.stages.compilers.onnx_c.build import write
    from recast.stages.compilers.onnx_c.compile import Options, generate

    given = emit_inputs.read(params, inputs)
    progress("generate C")
    sources = generate(given.model, Options(batch=params.batch))
    write(sources, out)
    (out / "main.c").write_text(main_c(params.batch, given.contract), encoding="utf-8")
    described = given.described(params.batch)
    (out / "input.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")

    def first_layer(worst: int) -> str:
        form = NativeForm(given.model, params.resources.cpu, "the C", inputs.scratch)
        return form.first_wrong_layer(given.checker.batch_of(worst, params.batch), given.checker.limit)

    progress("compile and compare with onnxruntime")
    scorer = runtime.scorer(out, inputs.scratch, runtime.OURS)
    error = float(f"{given.checker.error(scorer, ARTIFACT, first_layer):.3g}")
    report = {
        **sources.report,
        "scheme": given.scheme,
        "batch": params.batch,
        "error": error,
        "max_error": given.checker.limit,
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    text = readme(given.readme(str(params.batch)), given.contract, given.scheme, params.batch)
    (out / "README.md").write_text(text, encoding="utf-8")
    return {
        "size_bytes": shipped_size.size(out, SHIPS),
        "memory_bytes": sources.report["memory_bytes"],
        "weights_bytes": sources.report["weights_bytes"],
        "max_error": error,
        "batch": params.batch,
    }


STAGE = Stage(
    params=emit_inputs.CompileParams,
    inputs=("calibrate", "quantize", "data"),
    run=run,
    sources=(KERNELS,),
    emits=ARTIFACT,
    ships=SHIPS,
)
