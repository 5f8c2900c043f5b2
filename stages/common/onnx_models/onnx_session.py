"""Sessions of onnxruntime on the CPU: as a user has them, or as what others are compared with.

On x86 processors without VNNI, onnxruntime's kernels for products of unsigned by signed 8-bit integers add two of them
in 16 bits and saturate. A quantized layer then gives other numbers there than everywhere else, so a session that others
are compared with must not use those kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from recast.stages.common.onnx_models import saturation

Mode: TypeAlias = Literal["reference", "as_shipped", "as_written"]
"""reference: what the graph means, on every processor. Quantized layers run in onnxruntime's integer kernels, constant
int8 weights as uint8, whose kernels add in 32 bits. That does nothing for a product of two int8 activations: of a graph
that has one, all products between DequantizeLinear and QuantizeLinear are computed in float32 instead.

as_shipped: onnxruntime's own choice of kernels, which is what the user of a file gets.

as_written: every node as it stands, none fused or folded, so that every tensor can be looked at. All products between
DequantizeLinear and QuantizeLinear are computed in float32: it simulates the integer kernels, which may round a value
halfway between two steps the other way."""

_WEIGHTS_AS_UINT8 = "session.x64quantprecision"
_NO_INTEGER_KERNELS = "session.disable_quant_qdq"
_INT8 = 3  # onnx.TensorProto.INT8


def start(
    source: Path | bytes, threads: int, mode: Mode = "reference", libraries: Sequence[str] = (), severity: int = 3
) -> Any:
    """An `onnxruntime.InferenceSession` of a file or of a serialised model, with a fixed number of threads.

    `libraries`: files with custom operators; `severity`: of the least message onnxruntime logs, 3 is an error. Raises
    what onnxruntime raises, whose exceptions share no base but Exception.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # the number of threads changes float sums
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = severity
    if mode == "reference":
        options.add_session_config_entry(_WEIGHTS_AS_UINT8, "1")
        if multiplies_int8_activations(source):
            options.add_session_config_entry(_NO_INTEGER_KERNELS, "1")
    if mode == "as_written":
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for library in libraries:
        options.register_custom_ops_library(library)
    given = str(source) if isinstance(source, Path) else source
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def multiplies_int8_activations(source: Path | bytes) -> bool:
    """Whether a product's second operand is dequantized int8 that is no weight."""
    import onnx

    content = source.read_bytes() if isinstance(source, Path) else source
    if b"DequantizeLinear" not in content:
        return False
    graph = onnx.ModelProto.FromString(content).graph
    makers = {name: node for node in graph.node for name in node.output}
    types = {weight.name: weight.data_type for weight in graph.initializer}
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm", "Conv") or len(node.input) < 2:
            continue
        maker = makers.get(node.input[1])
        while maker is not None and maker.op_type in saturation.MOVING:
            maker = makers.get(maker.input[0])
        if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] in types:
            continue
        # without a zero point the type is uint8
        zero_point = maker.input[2] if len(maker.input) > 2 else ""
        if types.get(zero_point, _INT8 if zero_point else 0) == _INT8:
            return True
    return False
