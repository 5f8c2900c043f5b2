"""Fix the fixed-point format and turn the weights into its integers.

Deterministic: rounding to the nearest, ties to even.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from recast.stages.base import Inputs, Metrics, Params, Stage
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.cairo.ir import program
from recast.stages.targets.cairo.ir.fixed_point import parse_format
from recast.stages.targets.cairo.passes import onnx_import


def _format(name: str) -> str:
    parse_format(name)
    return name


class QuantizeParams(Params):
    """How numbers are held."""

    format: Annotated[str, AfterValidator(_format)] = Field(
        default="FP16x16",
        description="FP<bits before the point>x<bits behind it>: 4 to 40, 4 to 32, and 64 together at most",
    )


def run(params: QuantizeParams, inputs: Inputs, out: Path) -> Metrics:
    """simplify/model.onnx -> program.json and weights.npz; see `recast.stages.targets.cairo.ir.program`.

    Raises StageError naming every node that has no counterpart in Cairo, and for a weight that the format cannot hold.
    """
    model = onnx_files.with_constant_weights(onnx_files.read_model(inputs["simplify"] / "model.onnx"))
    onnx_files.require_one_each(model, "cairo")
    made = onnx_import.read(model, parse_format(params.format))
    program.write(made, out)
    weights = [value for node in made.nodes for name, value in node.constants.items() if name != "bias"]
    zeros = sum(int((value == 0).sum()) for value in weights)
    return {
        "nodes": len(made.nodes),
        "weights": sum(int(value.size) for value in weights),
        "zero_weights": zeros,
    }


STAGE = Stage(params=QuantizeParams, inputs=("simplify",), run=run)
