"""Reads the simplified ONNX model into a `Program`: constants found, the batch axis dropped, weights as integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.vendor_errors import foreign
from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ops.operation import Read, Source, Unsupported
from recast.stages.targets.cairo.ops.registry import OPERATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

ONE_AXIS = 13
"""operator set from which on Softmax runs over one axis; before, over all from that axis on"""


def read(model: onnx_files.Model, fmt: Format) -> Program:
    """The program of a model with one input and one output.

    Raises StageError naming every node that has no counterpart, and for weights that the format cannot hold.
    """
    sized = _one_sample(model)
    shapes = _shapes(sized)
    constants = _constants(sized)
    nodes: list[Node] = []
    refused: list[str] = []
    for index, node in enumerate(sized.graph.node):
        if node.op_type == "Constant":
            continue
        name = node.name or f"{node.op_type}_{index}"
        operation = OPERATIONS.get(node.op_type)
        if operation is None or node.domain not in ("", "ai.onnx"):
            refused.append(f"{name} ({node.op_type}): no such operation")
            continue
        try:
            source = _source(node, name, constants, shapes, onnx_files.opset(sized))
            nodes.append(_node(source, str(node.output[0]), operation.read(source, fmt), fmt))
        except Unsupported as error:
            refused.append(f"{name} ({node.op_type}): {error}")
    if refused:
        raise StageError(
            f"these nodes cannot be written in Cairo: {'; '.join(refused)}",
            f"change them in the model; operations are {', '.join(sorted(OPERATIONS))}",
        )
    taken = onnx_files.only_input(sized, "the simplified model").name
    given = onnx_files.only_output(sized, "the simplified model").name
    used = {taken, *(node.output for node in nodes)}
    return Program(fmt, tuple(nodes), {name: shapes[name] for name in sorted(used)}, taken, given)


def _one_sample(model: onnx_files.Model) -> onnx_files.Model:
    """A copy for a batch of one, with the shape of every tensor."""
    import onnx

    copy = type(model)()
    copy.CopyFrom(model)
    taken = onnx_files.only_input(copy, "the simplified model")
    for value in copy.graph.input:
        if value.name == taken.name:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    with foreign("the shapes of the model's tensors do not follow for a batch of one", "export it for batches of one"):
        return onnx.shape_inference.infer_shapes(copy, strict_mode=True, data_prop=True)


def _shapes(model: onnx_files.Model) -> dict[str, tuple[int, ...]]:
    """Tensor -> shape of one sample; a tensor whose shape is not known is absent."""
    shapes = {}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        if all(axis.HasField("dim_value") for axis in axes):
            shapes[value.name] = tuple(int(axis.dim_value) for axis in axes)[1:]
    return shapes


def _constants(model: onnx_files.Model) -> dict[str, NDArray[Any]]:
    import onnx

    found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            values = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            if "value" in values:
                found[node.output[0]] = onnx.numpy_helper.to_array(values["value"])
    return found


def _source(
    node: Any, name: str, constants: dict[str, NDArray[Any]], shapes: dict[str, tuple[int, ...]], opset: int
) -> Source:
    import onnx

    known = {index: constants[tensor] for index, tensor in enumerate(node.input) if tensor in constants}
    inputs = tuple(tensor for index, tensor in enumerate(node.input) if tensor and index not in known)
    unknown = [tensor for tensor in (*inputs, node.output[0]) if tensor not in shapes]
    if unknown:
        raise Unsupported(f"the shape of {unknown[0]} is not known")
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "Softmax" and opset < ONE_AXIS:
        attributes = {"axis": 1, **attributes, "all_behind": 1}
    return Source(
        name=name,
        op=node.op_type,
        attributes=attributes,
        constants=known,
        inputs=inputs,
        shapes=tuple(shapes[tensor] for tensor in inputs),
        shape=shapes[node.output[0]],
    )


HELD = 62
"""bits of an integer, so that sums of two are within int64"""


def _node(source: Source, output: str, found: Read, fmt: Format) -> Node:
    import numpy as np

    fraction = fmt.fraction if found.weight_fraction is None else found.weight_fraction
    constants = {}
    attributes = {**found.attributes, "weight_fraction": fraction} if found.weights else dict(found.attributes)
    for name, value in {**found.weights, **found.biases}.items():
        if not np.isfinite(value).all():
            raise StageError(f"{name} of node {source.name} holds NaN or infinity", "train the model again")
        largest = float(np.abs(value).max(initial=0))
        # a bias has the sum's fraction bits, or as many as int64 holds
        bits = fraction
        if name in found.biases:
            bits = attributes["bias_fraction"] = min(fraction + fmt.fraction, HELD - int(largest).bit_length())
        if largest >= fmt.largest or largest * 2.0**bits >= 2.0**HELD:
            raise StageError(
                f"{name} of node {source.name} reaches {largest:.6g}, and {fmt.name} holds numbers below {fmt.largest}",
                f"set quantize.format to one with {int(largest).bit_length()} bits before the point or more",
            )
        constants[name] = np.rint(np.asarray(value, np.float64) * 2.0**bits).astype(np.int64)
    return Node(source.name, source.op, source.inputs, output, attributes, constants)
