"""Emit the folder a user of Cairo builds: a Scarb workspace with nothing to edit, and a command that prepares inputs.

Deterministic: text follows from the program and its ranges.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Params, Source, Stage, progress
from recast.stages.common import shipped_size
from recast.stages.targets.cairo.codegen import input_text, layers, workspace_text
from recast.stages.targets.cairo.codegen.program_input import FIXED_POINT, SHIPS, WEIGHTS
from recast.stages.targets.cairo.ir import program, ranges
from recast.stages.targets.cairo.passes import range_analysis
from recast.stages.targets.cairo.readme import readme

ARTIFACT = "Scarb.toml"
PREPARE = "prepare_input.py"
EMITTED = Source("emitted", __package__, "emitted")
"""what is emitted as it lies here"""


class EmitParams(Params):
    """Limits of what is written."""

    bytecode_limit: int = Field(
        default=180_000,
        gt=10_000,
        description="felts the compiled program may have; above it, weights are passed with the input instead",
    )


def run(params: EmitParams, inputs: Inputs, out: Path) -> Metrics:
    """quantize/, calibrate/ and the data's contract -> the workspace; see docs/targets/cairo.md.

    Raises StageError if the model is too large for the bytecode limit even with its weights passed as call data.
    """
    from recast.stages.common import dataset

    made = program.read(inputs["quantize"])
    found = ranges.read(inputs["calibrate"])
    contract = dataset.read_contract(inputs["data"])
    samples, _ = dataset.read(inputs["data"], "calibration")
    progress("write the workspace")
    bounds = range_analysis.run(made, found.low, found.high)
    emission = layers.write_layers(made, bounds, params.bytecode_limit)
    files = workspace_text.files(emission)
    sample = [*made.format.raw(samples[0]).clip(found.low, found.high).ravel().tolist(), *emission.call_data()]
    files["src/input.cairo"] = input_text.text(sample)
    files["README.md"] = readme(emission, contract)
    files[FIXED_POINT] = json.dumps(
        {
            "format": made.format.name,
            "fraction_bits": made.format.fraction,
            "low": found.low,
            "high": found.high,
            "shape": list(made.shapes[made.input]),
            "output_shape": list(made.shapes[made.output]),
        },
        indent=2,
    ) + "\n"  # fmt: skip
    for path, text in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text, encoding="utf-8")
    replace(contract, outputs=(dataset.Output(made.output, made.shapes[made.output]),)).write(out)
    if emission.call_data():
        (out / WEIGHTS).write_text(json.dumps([hex(felt) for felt in emission.call_data()]), encoding="utf-8")
    script = inputs.sources["emitted"] / PREPARE
    (out / PREPARE).write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
    return {
        "layers": len(emission.written),
        "packed_products": sum(one.layer.products for one in emission.written),
        "weights_in_call_data": len(emission.call_data()),
        "size_bytes": shipped_size.size(out, SHIPS),
    }


STAGE = Stage(
    params=EmitParams,
    inputs=("quantize", "calibrate", "data"),
    run=run,
    sources=(EMITTED,),
    emits=ARTIFACT,
    ships=SHIPS,
)
