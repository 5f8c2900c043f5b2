"""Float16 as float32: C99 and WebAssembly have no type for the half, and float32 holds each of its values."""

from __future__ import annotations

from typing import Any

from recast.stages.common.onnx_models import onnx_files

_FLOAT, _HALF = 1, 10  # onnx.TensorProto.FLOAT, FLOAT16
_INT = 2  # onnx.AttributeProto.INT
_TYPES = ("to", "dtype")
"""attributes that name the type of what a node gives"""


def widen(model: onnx_files.Model) -> onnx_files.Model:
    """A copy in which weights, constants, inputs, outputs and casts that are float16 are float32.

    It computes the same with less rounding. What is inferred of its tensors is dropped where anything was changed.
    """
    wide = type(model)()
    wide.CopyFrom(model)
    graph = wide.graph
    changed = [_tensor(weight) for weight in graph.initializer]
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == _HALF:
            value.type.tensor_type.elem_type = _FLOAT
            changed.append(True)
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        changed += [_tensor(tensor) for tensor in (attribute.t, *attribute.tensors)]
        if attribute.name in _TYPES and attribute.type == _INT and attribute.i == _HALF:
            attribute.i = _FLOAT
            changed.append(True)
    if any(changed):
        del graph.value_info[:]
    return wide


def _tensor(tensor: Any) -> bool:
    """Make it float32, in place, if it is float16; whether it was."""
    import onnx

    if tensor.data_type != _HALF:
        return False
    values = onnx.numpy_helper.to_array(tensor).astype("float32")
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return True
