"""The bias of a Gemm as onnxruntime's quantizer takes it: a list with one value per output.

ONNX lets it be anything that can be stretched to the output, such as (1, outputs), a single number, or one value per
sample; the quantizer reads its first axis as that of the outputs, and fails (its issue 24815).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages import onnx_files
from stages.onnx_subgraphs import reads

if TYPE_CHECKING:
    from numpy.typing import NDArray


def as_lists(model: onnx_files.Model) -> None:
    """Rewrite each constant bias of another shape, in place; one that differs between samples becomes an Add."""
    import numpy as np
    import onnx

    graph = model.graph
    constants = {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.initializer}
    taken = {*constants, *(name for node in graph.node for name in node.output)}
    nodes: list[Any] = []
    for node in graph.node:
        nodes.append(node)
        bias = constants.get(node.input[2]) if node.op_type == "Gemm" and len(node.input) > 2 else None
        weight = constants.get(node.input[1]) if bias is not None else None
        if bias is None or weight is None:
            continue
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        outputs = weight.shape[0 if attributes.get("transB", 0) else 1]
        if bias.shape == (outputs,):
            continue
        name = _fresh(f"{node.input[2]}/list", taken)
        if bias.ndim < 2 or bias.shape[0] == 1:
            _add(graph, np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (outputs,))), name)
            node.input[2] = name
            continue
        # samples of a fixed batch
        _add(graph, (bias * np.float32(attributes.get("beta", 1.0))).astype(bias.dtype), name)
        product, end = _fresh(f"{node.output[0]}/product", taken), node.output[0]
        del node.input[2]
        node.output[0] = product
        nodes.append(onnx.helper.make_node("Add", [product, name], [end], name=_fresh(f"{node.name}/bias", taken)))
    del graph.node[:]
    graph.node.extend(nodes)
    # the old biases
    read = {name for node in nodes for name in reads(node)} | {value.name for value in graph.output}
    kept = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _add(graph: Any, value: NDArray[Any], name: str) -> None:
    import onnx

    graph.initializer.append(onnx.numpy_helper.from_array(value, name))


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
