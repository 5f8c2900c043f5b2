"""Choose the scheme: float32, or int8 as the onnxruntime target prepares it.

Deterministic, as `recast.stages.common.int8.qdq_scheme` is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from recast.stages.base import Inputs, Metrics, Stage
from recast.stages.common.int8 import qdq_scheme
from recast.stages.common.onnx_models import onnx_files

SCHEME = "scheme.json"


class QuantizeParams(qdq_scheme.QuantizeParams):
    """float32, or int8 with the params of the onnxruntime target."""

    scheme: Literal["float32", "int8"] = Field(
        default="float32", description="float32 as trained; int8: 8-bit weights and activations, calibrated"
    )

    @model_validator(mode="after")
    def _consistent(self) -> QuantizeParams:
        if self.scheme == "float32" and self.nodes_to_exclude:
            raise ValueError("scheme float32 leaves every node in float: drop nodes_to_exclude, or set scheme: int8")
        if self.scheme == "float32" and self.equalise:
            raise ValueError("scheme float32 rounds nothing that equalise could help: drop it, or set scheme: int8")
        return self


def run(params: QuantizeParams, inputs: Inputs, out: Path) -> Metrics:
    """simplify/model.onnx -> model.onnx, still float, and scheme.json.

    Raises StageError as `recast.stages.common.int8.qdq_scheme` does for int8.
    """
    if params.scheme == "int8":
        # our kernels add in 32 bits: weights have all 8 bits unless the recipe says otherwise
        whole = params.model_copy(update={"reduce_range": bool(params.reduce_range)})
        return qdq_scheme.quantize(whole, inputs, out)
    model = onnx_files.with_constant_weights(onnx_files.read_model(inputs["simplify"] / "model.onnx"))
    onnx_files.write_model(model, out / "model.onnx")
    (out / SCHEME).write_text(json.dumps({"scheme": params.scheme}, indent=2) + "\n", encoding="utf-8")
    return {"nodes": len(model.graph.node), "nodes_quantized": 0}


STAGE = Stage(params=QuantizeParams, inputs=("simplify",), run=run)
