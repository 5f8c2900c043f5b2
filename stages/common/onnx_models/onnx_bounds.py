"""What a model would take of the machine, as far as its shapes tell, before anything of it is run.

A file of a hundred bytes may state a tensor of any size: runtimes make it while they load the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from recast.stages.base import StageError
from recast.stages.common.onnx_models.onnx_model import Model

MOST_BYTES = 2**31
"""of one tensor; of weights protobuf allows no more either"""
_CONSTANT_SHAPE = ("ConstantOfShape", "Expand", "RandomNormal", "RandomUniform")


def refuse_large_tensors(model: Model, what: str) -> None:
    """StageError for a tensor of a fixed shape that takes 2 GiB or more, and for weights that are not what they say."""
    import onnx

    for weight in _weights(model):
        _check_weight(weight, what)
    for node, shape in _made_by_constants(model):
        _refuse(f"'{node.output[0]}', which {node.op_type} makes,", shape, 4, what)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # what it misjudges, the runtime is asked: see `onnx_files.check`
        return
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            # an axis of any length has at least one entry
            shape = [axis.dim_value if axis.HasField("dim_value") else 1 for axis in tensor.shape.dim]
            _refuse(f"'{value.name}'", shape, _size(tensor.elem_type), what)


def _check_weight(weight: Any, what: str) -> None:
    import onnx

    if any(length < 0 for length in weight.dims):
        raise StageError(f"weight '{weight.name}' of {what} has a negative length", "export it again")
    if weight.data_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        return
    _refuse(f"weight '{weight.name}'", weight.dims, _size(weight.data_type), what)


def _made_by_constants(model: Model) -> Iterator[tuple[Any, list[int]]]:
    """Nodes that make a tensor of a shape that the file states, with that shape, of the main graph."""
    import numpy as np
    import onnx

    stated: dict[str, Any] = {weight.name: weight for weight in model.graph.initializer}
    for node in model.graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            stated[node.output[0]] = attributes["value"].t
        if node.op_type not in _CONSTANT_SHAPE or not node.output:
            continue
        if "shape" in attributes:
            yield node, list(attributes["shape"].ints)
            continue
        shape = stated.get(node.input[-1]) if node.input else None
        if shape is not None and shape.data_type == onnx.TensorProto.INT64 and math.prod(shape.dims) < 100:
            yield node, np.atleast_1d(onnx.numpy_helper.to_array(shape)).tolist()


def _refuse(name: str, shape: Any, item_bytes: float, what: str) -> None:
    size = math.prod(abs(length) for length in shape) * item_bytes
    if size >= MOST_BYTES:
        lengths = ", ".join(map(str, shape))
        raise StageError(
            f"{name} of {what} has shape ({lengths}): {size / 2**30:.3g} GiB", "name another model as import.path"
        )


def _size(element_type: int) -> float:
    import onnx

    try:
        return float(onnx.helper.tensor_dtype_to_np_dtype(element_type).itemsize)
    except KeyError:
        return 1.0


def _weights(model: Model) -> Iterator[Any]:
    pending = [model.graph]
    while pending:
        graph = pending.pop()
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                pending.extend(attribute.graphs)
                if attribute.HasField("g"):
                    pending.append(attribute.g)
                if attribute.HasField("t"):
                    yield attribute.t
