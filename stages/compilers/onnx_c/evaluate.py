"""Nodes over constants, by ONNX's reference implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def evaluate(proto: Any, values: dict[str, Any], imports: list[Any], ir_version: int) -> list[NDArray[Any]]:
    """The outputs of one node over constant inputs, by ONNX's reference implementation."""
    import numpy as np
    import onnx
    from onnx.reference import ReferenceEvaluator

    given = {name: value for name, value in values.items() if name}
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in given.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    graph = onnx.helper.make_graph([proto], "constant", ports, outputs)
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    computed = iter(ReferenceEvaluator(model).run(None, given))
    return [np.asarray(next(computed), order="C") if name else np.zeros(0) for name in proto.output]
