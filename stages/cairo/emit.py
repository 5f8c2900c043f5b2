"""Emit the folder a user of Cairo builds: a Scarb workspace with nothing to edit, and a command that prepares inputs.

Deterministic: text follows from the program and its ranges.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from stages import shipped
from stages.base import Inputs, Metrics, Params, Stage, progress
from stages.cairo import bounding, emitting, input_text, program, ranges
from stages.cairo.emitted_folder import FIXED_POINT, SHIPS, WEIGHTS
from stages.cairo.readme_text import readme

ARTIFACT = "Scarb.toml"
PREPARE = "prepare_input.py"


class EmitParams(Params):
    """Limits of what is written."""

    bytecode_limit: int = Field(
        default=180_000,
        gt=10_000,
        description="felts the compiled program may have; above it, weights are passed with the input instead",
    )


def run(params: EmitParams, inputs: Inputs, out: Path) -> Metrics:
    """quantize/, calibrate/ and the data's contract -> the workspace; see docs/targets.md.

    Raises StageError if the model is too large for the bytecode limit even with its weights passed as call data.
    """
    from stages import dataset

    made = program.read(inputs["quantize"])
    found = ranges.read(inputs["calibrate"])
    contract = dataset.read_contract(inputs["data"])
    samples, _ = dataset.read(inputs["data"], "calibration")
    progress("write the workspace")
    bounds = bounding.run(made, found.low, found.high)
    emission = emitting.emit(made, bounds, params.bytecode_limit)
    files = emission.files()
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
    contract.write(out)
    if emission.call_data():
        (out / WEIGHTS).write_text(json.dumps([hex(felt) for felt in emission.call_data()]), encoding="utf-8")
    script = Path(__file__).parent / "emitted" / PREPARE
    (out / PREPARE).write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
    return {
        "layers": len(emission.written),
        "packed_products": sum(one.layer.products for one in emission.written),
        "weights_in_call_data": len(emission.call_data()),
        "size_bytes": shipped.size(out, SHIPS),
    }


STAGE = Stage(params=EmitParams, inputs=("quantize", "calibrate", "data"), run=run, emits=ARTIFACT, ships=SHIPS)
