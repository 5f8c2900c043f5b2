"""Prepare a graph for int8 by quantize/dequantize pairs (QDQ), and fix the scheme: which nodes, which types.

The `quantize` of every target that takes onnxruntime's int8.

Deterministic: onnxruntime's preparation gives the same graph for the same input, serialised canonically.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Params, StageError
from recast.stages.common.int8 import clip_bounds, equalisation
from recast.stages.common.onnx_models import onnx_files, plain_gemm
from recast.stages.common.spelling import did_you_mean
from recast.stages.common.vendor_errors import foreign

LEAST_OPSET = 13  # QuantizeLinear has an axis, which per-channel weights need, from opset 13 on


class QuantizeParams(Params):
    """Static int8 quantization with QDQ nodes, as `onnxruntime.quantization` defines it."""

    activation_type: Literal["int8", "uint8"] = Field(
        default="uint8",
        description="type of activations; onnxruntime on x86 leaves layers in float that read int8 ones with several "
        "readers",
    )
    weight_type: Literal["int8", "uint8"] = Field(default="int8", description="type of weights")
    per_channel: bool = Field(default=True, description="one weight scale per output channel, not per tensor")
    reduce_range: bool | None = Field(
        default=None,
        description="7-bit weights, two of whose products always fit 16 bits; unset: int8 weights for onnxruntime, "
        "whose kernels on x86 without VNNI need it",
    )
    equalise: bool = Field(
        default=False,
        description="cross-layer equalisation: bring channels together whose weights' ranges lie far apart",
    )
    nodes_to_exclude: tuple[str, ...] = Field(default=(), description="names of nodes that stay in float")


def quantize(params: QuantizeParams, inputs: Inputs, out: Path) -> Metrics:
    """simplify/model.onnx -> model.onnx (still float, with shapes) and scheme.json.

    Raises StageError if the opset is too old, a node to exclude does not exist, or no node can be quantized.
    """
    model = onnx_files.with_constant_weights(onnx_files.read_model(inputs["simplify"] / "model.onnx"))
    if onnx_files.opset(model) < LEAST_OPSET:
        raise StageError(
            f"int8 quantization needs opset {LEAST_OPSET} or later, but the model has {onnx_files.opset(model)}",
            f"set export.opset to {LEAST_OPSET} or later for this target",
            f"export the file of import.path again at opset {LEAST_OPSET} or later",
            f"set simplify.opset to {LEAST_OPSET} or later, which converts it",
        )
    prepared = prepare(model, inputs.scratch)
    _check_excluded(params, prepared)
    quantized = quantizable(params, prepared)
    if not quantized:
        kinds = ", ".join(sorted({node.op_type for node in prepared.graph.node}))
        raise StageError(
            f"no node of the model can be quantized ({kinds})",
            "shorten quantize.nodes_to_exclude"
            if params.nodes_to_exclude
            else "use a model with operations that are computed in int8, such as Conv, Gemm and MatMul",
            "set quantize.scheme to float32",
        )
    places = {"places_equalised": equalisation.equalise(prepared)} if params.equalise else {}
    onnx_files.write_model(prepared, out / "model.onnx")
    reduce_range = params.weight_type == "int8" if params.reduce_range is None else params.reduce_range
    scheme = {
        **params.model_dump(exclude={"resources", "nodes_to_exclude"}),
        "reduce_range": reduce_range,
        "quantized": quantized,
        "float": [node.name for node in prepared.graph.node if node.name not in quantized],
    }
    (out / "scheme.json").write_text(json.dumps(scheme, indent=2) + "\n", encoding="utf-8")
    return {"nodes": len(prepared.graph.node), "nodes_quantized": len(quantized), **places}


def prepare(model: onnx_files.Model, scratch: Path) -> onnx_files.Model:
    """Optimised and with shapes inferred, as the quantizer wants it; every node has a name of its own."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, path = scratch / "model.onnx", scratch / "prepared.onnx"
    onnx_files.write_model(model, source)
    with foreign("onnxruntime cannot prepare the model for int8", "try simplify.tool: onnxslim, or another opset"):
        # symbolic shape inference writes into the working directory when it fails; ONNX's own does for these graphs
        quant_pre_process(str(source), str(path), skip_symbolic_shape=True)
    prepared = onnx_files.read_model(path, "what onnxruntime's preparation wrote")
    # onnxruntime imports every domain it knows, at which other runtimes may stop
    onnx_files.drop_unused_domains(prepared)
    plain_gemm.rewrite(prepared)
    used: set[str] = set()
    for index, node in enumerate(prepared.graph.node):
        if not node.name or node.name in used:
            node.name = f"{node.name or node.op_type}_{index}"
        used.add(node.name)
    return prepared


def _check_excluded(params: QuantizeParams, model: onnx_files.Model) -> None:
    names = [node.name for node in model.graph.node]
    for name in params.nodes_to_exclude:
        if name not in names:
            raise StageError(f"quantize.nodes_to_exclude: no node named {name!r}", did_you_mean(name, names))


def quantizable(params: QuantizeParams, model: onnx_files.Model) -> list[str]:
    """Names of the nodes the quantizer has a rule for and the recipe does not exclude."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    known = {*QDQRegistry, *QLinearOpsRegistry}
    left = {*params.nodes_to_exclude, *clip_bounds.lost(model)}
    return [node.name for node in model.graph.node if node.op_type in known and node.name not in left]
