"""Changing a graph: putting nodes in, giving a node another weight, dropping what nobody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.common.onnx_models.onnx_subgraphs import reads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.targets.akida.graph import Graph


def fresh(graph: Graph, name: str) -> str:
    """A name that no tensor and no node of the graph has."""
    taken = {*graph.makers, *graph.weights, *graph.shapes, *(node.name for node in graph.model.graph.node)}
    while name in taken:
        name += "_"
    return name


def weight(graph: Graph, name: str, values: NDArray[Any]) -> str:
    """A new constant; float32 unless it holds whole numbers."""
    import numpy as np
    import onnx

    name = fresh(graph, name)
    values = values if values.dtype.kind == "i" else values.astype(np.float32)
    graph.model.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
    graph.weights[name] = values
    return name


def reweigh(graph: Graph, node: Any, index: int, values: NDArray[Any]) -> None:
    """Give a node another constant as its input of that index, by the same name where nobody else reads the old one."""
    import numpy as np
    import onnx

    name = node.input[index]
    if len(graph.readers[name]) > 1:
        node.input[index] = weight(graph, name, values)
        return
    old = next(one for one in graph.model.graph.initializer if one.name == name)
    old.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values.astype(graph.weights[name].dtype)), name))


def attribute(node: Any, name: str, value: Any) -> None:
    """Set an attribute; None drops it."""
    import onnx

    kept = [one for one in node.attribute if one.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    if value is not None:
        node.attribute.append(onnx.helper.make_attribute(name, value))


def replace(graph: Graph, node: Any, nodes: list[Any]) -> None:
    """Put nodes where one is."""
    kept = list(graph.model.graph.node)
    at = next(index for index, one in enumerate(kept) if one is node or one.output[0] == node.output[0])
    kept[at : at + 1] = nodes
    copies = [type(one).FromString(one.SerializeToString()) for one in kept]
    del graph.model.graph.node[:]
    graph.model.graph.node.extend(copies)
    drop_unread(graph)


def drop_identities(graph: Graph) -> None:
    """Have the readers of what an Identity gives read what it is given, unless the model gives it."""
    ends = {one.name for one in graph.model.graph.output}
    idle = [node for node in graph.model.graph.node if node.op_type == "Identity" and node.output[0] not in ends]
    for node in idle:
        for reader in graph.model.graph.node:
            for index, name in enumerate(reader.input):
                if name == node.output[0]:
                    reader.input[index] = node.input[0]
        graph.model.graph.node.remove(node)


def drop_unread(graph: Graph) -> None:
    """Drop the constants that no node reads."""
    model = graph.model
    read = {name for node in model.graph.node for name in reads(node)} | {one.name for one in model.graph.output}
    kept = [one for one in model.graph.initializer if one.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    del model.graph.value_info[:]


def identity(graph: Graph, source: str, output: str, name: str, channels: int) -> Any:
    """A convolution of 1x1 that changes nothing."""
    import numpy as np
    import onnx

    kernel = weight(graph, f"{name}.weight", np.eye(channels).reshape(channels, channels, 1, 1))
    return onnx.helper.make_node("Conv", [source, kernel], [output], name=fresh(graph, name), kernel_shape=[1, 1])
