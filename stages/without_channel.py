"""A model of samples (A, B), on data whose samples have an axis of length one for their one channel, (1, A, B).

The data stage gives (N, A, B) that axis, as it takes them for images. A recurrent network over the rows of an image,
or a convolution over signals, has none for it.
"""

from __future__ import annotations

from stages import onnx_files
from stages.onnx_subgraphs import rename_reads

AXES_AS_INPUT = 13
"""operator set from which on Squeeze takes its axes as an input"""


def lacks_channel(port: onnx_files.Port, shape: tuple[int, ...]) -> bool:
    """Whether samples of `shape` would fit the model's input but for their first axis, of length one."""
    own = port.shape[1:]
    return (
        len(own) > 1
        and len(shape) == len(own) + 1
        and shape[0] == 1
        and all(axis is None or axis == length for axis, length in zip(own, shape[1:], strict=True))
    )


def drop_in_front(model: onnx_files.Model, what: str) -> None:
    """Have the model take samples (N, 1, A, B): a Squeeze in front of it gives (N, A, B). Changed in place."""
    import numpy as np
    import onnx

    port = onnx_files.only_input(model, what)
    graph = model.graph
    taken = {value.name for value in (*graph.input, *graph.initializer)}
    taken |= {name for node in graph.node for name in (*node.input, *node.output, node.name)}
    squeezed, axes = (_fresh(f"{port.name}/{part}", taken) for part in ("squeezed", "axes"))
    for node in graph.node:
        rename_reads(node, {port.name: squeezed})
    if onnx_files.opset(model) < AXES_AS_INPUT:
        front = onnx.helper.make_node("Squeeze", [port.name], [squeezed], name=squeezed, axes=[1])
    else:
        front = onnx.helper.make_node("Squeeze", [port.name, axes], [squeezed], name=squeezed)
        onnx_files.add_weight(model, onnx.numpy_helper.from_array(np.array([1], np.int64), axes))
    nodes = [front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    value = next(value for value in graph.input if value.name == port.name)
    value.type.tensor_type.shape.dim.insert(1, onnx.TensorShapeProto.Dimension(dim_value=1))
    onnx_files.check(model, what)


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
