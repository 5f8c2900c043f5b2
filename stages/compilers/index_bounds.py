"""Between which whole numbers an input must lie that a model looks things up by, as tokens in an embedding."""

from __future__ import annotations

from recast.stages.common.onnx_models import onnx_files

_KEEPS = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""operators that hand the numbers of their first input on as they are"""


def of(model: onnx_files.Model, name: str) -> tuple[int, int] | None:
    """The least and the greatest index that every Gather by the input of this name takes; None if there is none.

    ONNX counts a negative index from the end. The model's shapes are known, as `fixed_batch.fix` makes them.
    """
    lengths = {weight.name: list(weight.dims) for weight in model.graph.initializer}
    for value in model.graph.value_info:
        axes = value.type.tensor_type.shape.dim
        lengths[value.name] = [axis.dim_value for axis in axes]
    handed, sizes = {name}, []
    for node in model.graph.node:
        if node.op_type in _KEEPS and node.input[0] in handed:
            handed.add(node.output[0])
        if node.op_type == "Gather" and node.input[1] in handed and lengths.get(node.input[0]):
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            sizes.append(lengths[node.input[0]][axis])
    known = [size for size in sizes if size > 0]
    return (-min(known), min(known) - 1) if known else None
