"""Gemm as quantizers take it: `alpha` and `beta` are one, and the bias is a list, one value per output.

ONNX lets a bias be anything that can be stretched to the output, such as (1, outputs), a single number, or one value
per sample; onnxruntime's quantizer reads its first axis as that of the outputs, and fails (its issue 24815), as
quantizeml does. onnxruntime's drops a `beta` without applying it, and leaves `alpha` out of the bias's scale, which
gives other scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.onnx_models.axis_nodes import fresh
from recast.stages.common.onnx_models.onnx_subgraphs import reads

if TYPE_CHECKING:
    from numpy.typing import NDArray

BIAS_OPTIONAL = 11
"""operator set from which on a Gemm may have no bias"""


def rewrite(model: onnx_files.Model) -> None:
    """Rewrite each Gemm of a constant weight, in place; a constant bias per sample becomes an Add behind it."""
    import numpy as np
    import onnx

    graph = model.graph
    constants = {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.initializer}
    taken = {*constants, *(name for node in graph.node for name in (*node.output, node.name))}

    def constant(value: NDArray[Any], name: str) -> str:
        new = fresh(name, taken)
        graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), new))
        return new

    nodes: list[Any] = []
    for node in graph.node:
        nodes.append(node)
        weight = constants.get(node.input[1]) if node.op_type == "Gemm" else None
        if weight is None:
            continue
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        outputs = weight.shape[0 if attributes.get("transB", 0) else 1]
        alpha, beta = (weight.dtype.type(attributes.get(name, 1.0)) for name in ("alpha", "beta"))
        has_bias = len(node.input) > 2 and bool(node.input[2])
        bias = constants.get(node.input[2]) if has_bias else None
        if has_bias and bias is None and beta != 1:
            continue  # a bias that is computed stays in float, as it is
        if alpha != 1 or beta != 1:
            kept = [entry for entry in node.attribute if entry.name not in ("alpha", "beta")]
            del node.attribute[:]
            node.attribute.extend(kept)
        if alpha != 1:
            node.input[1] = constant(weight * alpha, f"{node.input[1]}/alpha")
        if bias is None or (bias.shape == (outputs,) and beta == 1):
            continue
        if bias.ndim < 2 or bias.shape[0] == 1:
            as_list = np.broadcast_to(bias.reshape(-1) * beta, (outputs,))
            node.input[2] = constant(as_list, f"{node.input[2]}/list")
            continue
        # for the samples of a fixed batch
        added = constant(bias * beta, f"{node.input[2]}/beta")
        product, end = fresh(f"{node.output[0]}/product", taken), node.output[0]
        if onnx_files.opset(model) < BIAS_OPTIONAL:
            node.input[2] = constant(np.zeros(outputs, bias.dtype), f"{node.input[2]}/zero")
        else:
            del node.input[2]
        node.output[0] = product
        nodes.append(onnx.helper.make_node("Add", [product, added], [end], name=fresh(f"{end}/bias", taken)))
    del graph.node[:]
    graph.node.extend(nodes)
    # weights and biases that were replaced
    read = {name for node in nodes for name in reads(node)} | {value.name for value in graph.output}
    used = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(used)
