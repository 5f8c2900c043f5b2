"""Convolutions as products of matrices, which EZKL checks without computing them term by term.

A product of two matrices is checked at a random point (Freivalds, "Probabilistic machines can use less running time",
1977): for (m, k) by (k, n) that takes mk + kn + mn multiplications and not mkn. EZKL does so for products, and lays out
convolutions term by term. Written as the product of its patches (positions, patch) and its kernels (patch, channels),
a convolution is the same sums of the same numbers: gathering the patches costs a circuit nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.onnx_models.patches import patches
from recast.stages.targets.ezkl.circuit.network import drop_unread_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLAIN_ADD, PADS_AS_INPUT = 7, 11
"""operator sets from which on Add stretches its sides as NumPy does, and Pad takes its pads as an input"""


def with_products(model: onnx_files.Model) -> tuple[onnx_files.Model, int]:
    """A copy of the model (of one sample) with its convolutions as products, and how many there are.

    One whose kernels are no constants, that has groups, or that pads other than by `pads` stays as it is. The nodes are
    those of the model's own operator set; before 7, when Add was another operation, all convolutions stay.
    """
    import onnx

    opset = onnx_files.opset(model)
    changed = onnx.shape_inference.infer_shapes(model)
    if opset < PLAIN_ADD:
        return changed, 0
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*changed.graph.input, *changed.graph.value_info)
    }
    constants = {value.name: onnx.numpy_helper.to_array(value) for value in changed.graph.initializer}
    nodes: list[Any] = []
    count = 0
    for node in changed.graph.node:
        kernels = constants.get(node.input[1]) if node.op_type == "Conv" else None
        written = None if kernels is None else _product(node, shapes.get(node.input[0], []), kernels, constants, opset)
        if written is None:
            nodes.append(node)
            continue
        count += 1
        nodes += written[0]
        changed.graph.initializer.extend(written[1])
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    # kernels and biases of the convolutions that are gone
    drop_unread_weights(changed)
    onnx_files.check(changed, "the network with its convolutions as products")
    return changed, count


def _product(
    node: Any, shape: list[int], kernels: NDArray[Any], constants: dict[str, NDArray[Any]], opset: int
) -> tuple[list[Any], list[Any]] | None:
    """Nodes and constants that compute what the Conv does; None if it stays."""
    import numpy as np
    import onnx

    attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    rank = kernels.ndim - 2
    biased = len(node.input) > 2 and bool(node.input[2])
    if (
        len(shape) != kernels.ndim
        or shape[0] != 1
        or not all(shape)
        or attributes.get("group", 1) != 1
        or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
        or (biased and node.input[2] not in constants)
    ):
        return None
    pads = attributes.get("pads", [0] * 2 * rank)
    padded = [shape[1], *(size + pads[i] + pads[rank + i] for i, size in enumerate(shape[2:]))]
    places = patches(
        tuple(padded),
        kernels.shape[2:],
        attributes.get("strides", [1] * rank),
        attributes.get("dilations", [1] * rank),
    )
    channels, positions = kernels.shape[0], places.shape[:rank]
    flat = kernels.reshape(channels, -1)
    read = flat.any(axis=0) | (not flat.any())  # a kernel that was dilated is zero in between
    places, flat = places[..., read], flat[:, read]
    place = f"{node.output[0]}/product/"
    made: list[Any] = []
    constant: list[Any] = []

    def add(kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = output or f"{place}{len(made)}"
        made.append(onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def value(array: Any) -> str:
        name = f"{place}constant{len(constant)}"
        constant.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    x = node.input[0]
    if any(pads):
        all_pads = [0, 0, *pads[:rank], 0, 0, *pads[rank:]]
        if opset < PADS_AS_INPUT:
            x = add("Pad", [x], mode="constant", pads=all_pads)
        else:
            x = add("Pad", [x, value(np.array(all_pads, np.int64))], mode="constant")
    x = add("Reshape", [x, value(np.array([-1], np.int64))])
    x = add("Gather", [x, value(places.reshape(-1))], axis=0)
    x = add("Reshape", [x, value(np.array([-1, places.shape[-1]], np.int64))])
    x = add("MatMul", [x, value(flat.T)])
    if biased:
        x = add("Add", [x, value(constants[node.input[2]][None])])
    x = add("Transpose", [x], perm=[1, 0])
    add("Reshape", [x, value(np.array([1, channels, *positions], np.int64))], node.output[0])
    return made, constant
