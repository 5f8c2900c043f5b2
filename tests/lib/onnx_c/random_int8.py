"""Random graphs quantized to QDQ form by onnxruntime's quantizer, as the stages of the onnxruntime target do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.registry import QDQRegistry

from recast.stages.common.onnx_models import onnx_shapes
from tests.lib.onnx_c.random_graphs import RandomGraph

FAILING = ("LayerNormalization", "ConvTranspose")
"""whose biases of several axes or groups its quantizer fails at"""


class Images(CalibrationDataReader):  # type: ignore[misc]
    """A few inputs of the graph."""

    def __init__(self, graph: RandomGraph) -> None:
        self._left = [{"image": graph.image()} for _ in range(4)]

    def get_next(self) -> dict[str, Any] | None:
        return self._left.pop() if self._left else None


def int8(graph: RandomGraph, scratch: Path) -> Any:
    """The quantized model; None if it has no node that is quantized. Activations are int8 or uint8, by chance."""
    source, target = scratch / "float.onnx", scratch / "int8.onnx"
    model = graph.model()
    onnx_shapes.state(model)
    onnx.save(model, source)
    kind = (QuantType.QInt8, QuantType.QUInt8)[int(graph.random.integers(0, 2))]
    quantize_static(
        source,
        target,
        Images(graph),
        QuantFormat.QDQ,
        op_types_to_quantize=sorted(set(QDQRegistry) - set(FAILING)),
        per_channel=True,
        activation_type=kind,
        weight_type=QuantType.QInt8,
    )
    made = onnx.load(target)
    return made if any(node.op_type == "QuantizeLinear" for node in made.graph.node) else None
