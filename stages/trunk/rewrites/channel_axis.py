"""A model of samples (A, B), on data whose samples have an axis of length one for their one channel, (1, A, B).

The data stage gives (N, A, B) that axis, as it takes them for images. A recurrent network over the rows of an image,
or a convolution over signals, has none for it.
"""

from __future__ import annotations

from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.onnx_models.axis_nodes import axis_node, fresh, taken_names
from recast.stages.common.onnx_models.onnx_subgraphs import rename_reads


def lacks_channel(port: onnx_files.Port, shape: tuple[int, ...]) -> bool:
    """Whether samples of `shape` would fit the model's input but for their first axis, of length one."""
    own = port.shape[1:]
    return (
        len(own) > 1
        and len(shape) == len(own) + 1
        and shape[0] == 1
        and all(axis is None or axis == length for axis, length in zip(own, shape[1:], strict=True))
    )


def drop_in_front(model: onnx_files.Model, port: onnx_files.Port, what: str) -> None:
    """Have the model take samples (N, 1, A, B): a Squeeze in front of it gives (N, A, B). Changed in place."""
    import onnx

    graph = model.graph
    taken = taken_names(graph)
    squeezed, axes = (fresh(f"{port.name}/{part}", taken) for part in ("squeezed", "axes"))
    for node in graph.node:
        rename_reads(node, {port.name: squeezed})
    front = axis_node(model, "Squeeze", port.name, squeezed, 1, name=squeezed, axes=axes)
    nodes = [front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    value = next(value for value in graph.input if value.name == port.name)
    value.type.tensor_type.shape.dim.insert(1, onnx.TensorShapeProto.Dimension(dim_value=1))
    onnx_files.check(model, what)
