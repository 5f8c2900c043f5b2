"""Pools that Akida has not, as ones it has: each stands behind a convolution of its own, and is padded at its end.

pool behind anything but a convolution    ->  convolution of 1x1 that changes nothing, pool
ceil_mode                                 ->  the padding that it stands for
MaxPool(3, stride 2, padding 1)           ->  MaxPool(2, 1), convolution that moves by one pixel, MaxPool(2, 2)
AveragePool(k), zeros around              ->  convolution of each channel by 1 / k²
average of the whole map at the end       ->  the same, and a dense layer that changes nothing
pool that a sum reads, and others         ->  pool, convolution of 1x1 that changes nothing: a ResNet's stem

A MaxPool goes with a ReLU on Akida, so both are put where what is pooled is not negative, which a ReLU leaves as it is.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from recast.stages.common.onnx_models import onnx_shapes
from recast.stages.targets.akida import obstacles, windows
from recast.stages.targets.akida.lowering import edit

if TYPE_CHECKING:
    from recast.stages.targets.akida.graph import Graph

POOLS = ("MaxPool", "GlobalAveragePool", "ReduceMean", "AveragePool")
KEEP_SIGN = (
    "MaxPool",
    "Identity",
    "Flatten",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Resize",
    "Concat",
    "Add",
)
"""of what is not negative they make nothing that is"""


def round_down(graph: Graph) -> str:
    """Write the first pool's `ceil_mode`, or padding by `auto_pad`, as padding."""
    import onnx

    for node in graph.model.graph.node:
        given = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        size = graph.shapes.get(node.input[0], ())[2:] if node.input else ()
        if node.op_type not in ("MaxPool", "AveragePool") or not given.get("ceil_mode") or len(size) != 2:
            continue
        if node.op_type == "AveragePool":
            continue  # what it divides by at the end is another count
        kernel, strides = graph.numbers(node, "kernel_shape", 1), graph.numbers(node, "strides", 1)
        if not all(size) or max(graph.numbers(node, "dilations", 1)) > 1:
            continue
        axes = [onnx_shapes.pool_axis(given, axis, length) for axis, length in enumerate(size)]
        before = [pads[0] for pads, _ in axes]
        after = [
            max((made - 1) * strides[axis] + kernel[axis] - size[axis] - before[axis], 0)
            for axis, (_, made) in enumerate(axes)
        ]
        said = f"{graph.called(node)}: its size rounded up as padding"
        edit.attribute(node, "ceil_mode", None)
        edit.attribute(node, "pads", [*before, *after])
        edit.drop_unread(graph)
        return said
    return ""


def own_convolution(graph: Graph) -> str:
    """Give the first pool that stands behind no padded convolution of its own one that changes nothing."""
    for node in graph.model.graph.node:
        channels = (graph.shapes.get(node.input[0], ()) if node.input else ())[1:2]
        if node.op_type not in POOLS or not channels or len(graph.shapes[node.input[0]]) != 4:
            continue
        if node.op_type == "AveragePool" and graph.shapes[node.input[0]][2:] != graph.numbers(node, "kernel_shape", 1):
            continue
        if node.op_type == "ReduceMean" and obstacles.reduced_axes(graph, node) != [2, 3]:
            continue
        if graph.before(node) is None or not _needs_its_own(graph, node):
            continue
        if node.op_type == "MaxPool" and (not _is_positive(graph, node.input[0]) or len(node.output) > 1):
            continue
        said = f"{graph.called(node)}: a convolution in front that changes nothing"
        source, between = node.input[0], edit.fresh(graph, f"{node.output[0]}/own")
        front = edit.identity(graph, source, between, f"{node.output[0]}/own", channels[0])
        copy = type(node).FromString(node.SerializeToString())
        copy.input[0] = between
        edit.replace(graph, node, [front, *(_with_relu(graph, copy) if node.op_type == "MaxPool" else [copy])])
        return said
    return ""


def _needs_its_own(graph: Graph, node: Any) -> bool:
    """Whether the pool cannot be part of the layer before it."""
    if obstacles.place_fault(graph, node) is not None:
        return True
    made_by = graph.before(node)
    while made_by is not None and made_by.op_type in (*windows.ACTIVATIONS, "BatchNormalization"):
        made_by = graph.before(made_by)
    if made_by is None or made_by.op_type != "Conv":
        return False
    found = obstacles.fault(graph, made_by)
    return found is not None and found.is_of_pool


def padded_at_the_start(graph: Graph) -> str:
    """Write the first MaxPool(3, stride 2, padding 1) with pools of 2x2, which hardware has."""
    import numpy as np
    import onnx

    for node in graph.model.graph.node:
        if node.op_type != "MaxPool" or len(node.output) > 1 or obstacles.fault(graph, node) is None:
            continue
        size, pads = graph.shapes.get(node.input[0], ())[2:], graph.numbers(node, "pads", 0, 4)
        kernel, strides = graph.numbers(node, "kernel_shape", 1), graph.numbers(node, "strides", 1)
        made = graph.shapes.get(node.output[0], ())[2:]
        if kernel != (3, 3) or strides != (2, 2) or pads[:2] != (1, 1) or len(size) != 2 or not all(size):
            continue
        if made != tuple(-(-length // 2) for length in size) or max(graph.numbers(node, "dilations", 1)) > 1:
            continue
        if not _is_positive(graph, node.input[0]):
            continue
        channels, name = graph.shapes[node.input[0]][1], node.output[0]
        said = f"{graph.called(node)}: as pools of 2x2 with a convolution between that moves by one pixel"
        first, moved = edit.fresh(graph, f"{name}/pairs"), edit.fresh(graph, f"{name}/moved")
        node_of = onnx.helper.make_node
        pairs = node_of("MaxPool", [node.input[0]], [first], name=first, kernel_shape=[2, 2], pads=[0, 0, 1, 1])
        edit.attribute(pairs, "strides", [1, 1])
        # what comes in at the border is zero, which loses against what is not negative
        kernel_of = np.zeros((channels, channels, 3, 3))
        kernel_of[range(channels), range(channels), 0, 0] = 1
        shift = edit.weight(graph, f"{name}/moved.weight", kernel_of)
        middle = node_of("Conv", [first, shift], [moved], name=moved, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        last = node_of("MaxPool", [moved], [name], name=node.name, kernel_shape=[2, 2], strides=[2, 2])
        edit.attribute(last, "pads", [0, 0, *(length % 2 for length in size)])
        edit.replace(graph, node, [pairs, middle, *_with_relu(graph, last)])
        return said
    return ""


def read_by_a_sum(graph: Graph) -> str:
    """Put a convolution that changes nothing behind the first pool that several read, not all of them convolutions.

    In hardware a pool needs a convolution behind it, and no other reader; else it is in software, and all behind it.
    """
    import onnx

    for node in graph.model.graph.node:
        if node.op_type != "MaxPool" or len(node.output) > 1 or len(graph.shapes.get(node.output[0], ())) != 4:
            continue
        last = node
        while len(readers := graph.readers.get(last.output[0], [])) == 1 and readers[0].op_type == "Relu":
            last = readers[0]
        output = last.output[0]
        if len(readers) < 2 or all(one.op_type == "Conv" for one in readers) or not _is_positive(graph, output):
            continue
        said = f"{graph.called(node)}: a convolution behind that changes nothing"
        copy = type(last).FromString(last.SerializeToString())
        pooled, alike = edit.fresh(graph, f"{output}/pooled"), edit.fresh(graph, f"{output}/alike")
        copy.output[0] = pooled
        behind = edit.identity(graph, pooled, alike, alike, graph.shapes[output][1])
        relu = onnx.helper.make_node("Relu", [alike], [output], name=edit.fresh(graph, f"{output}/relu"))
        edit.replace(graph, last, [copy, behind, relu])
        return said
    return ""


def _with_relu(graph: Graph, pool: Any) -> list[Any]:
    """The pool, and a ReLU that gives what it gave."""
    import onnx

    name = pool.output[0]
    pool.output[0] = edit.fresh(graph, f"{name}/pooled")
    return [pool, onnx.helper.make_node("Relu", [pool.output[0]], [name], name=edit.fresh(graph, f"{name}/relu"))]


def _is_positive(graph: Graph, name: str) -> bool:
    """Whether a tensor holds nothing below zero, by what makes it."""
    node = graph.makers.get(name)
    if node is None:
        return name in graph.weights and bool((graph.weights[name] >= 0).all())
    if node.op_type == "Clip":
        low = graph.weights.get(node.input[1]) if len(node.input) > 1 else None
        return low is not None and float(low) >= 0
    if node.op_type in ("Relu", "Sigmoid", "HardSigmoid"):
        return True
    read = node.input if node.op_type in ("Concat", "Add") else node.input[:1]
    return node.op_type in KEEP_SIGN and all(_is_positive(graph, one) for one in read)


def averages(graph: Graph) -> str:
    """Write the first local average as a convolution of each channel."""
    import numpy as np
    import onnx

    for node in graph.model.graph.node:
        if node.op_type != "AveragePool" or obstacles.fault(graph, node) is None:
            continue
        given = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        shape, kernel = graph.shapes.get(node.input[0], ()), graph.numbers(node, "kernel_shape", 1)
        pads = graph.numbers(node, "pads", 0, 4)
        if len(shape) != 4 or shape[2:] == kernel or (any(pads) and not given.get("count_include_pad")):
            continue
        if given.get("ceil_mode") or bytes(given.get("auto_pad", b"NOTSET")) != b"NOTSET" or "dilations" in given:
            continue
        channels = shape[1]
        said = f"{graph.called(node)}: as a convolution of each channel by 1 / {prod(kernel)}"
        weight = edit.weight(graph, f"{node.output[0]}/mean.weight", np.full((channels, 1, *kernel), 1 / prod(kernel)))
        strides = list(graph.numbers(node, "strides", 1))
        made = onnx.helper.make_node("Conv", [node.input[0], weight], list(node.output), name=node.name, group=channels)
        for name, value in (("kernel_shape", list(kernel)), ("strides", strides), ("pads", list(pads))):
            edit.attribute(made, name, value)
        edit.replace(graph, node, [made])
        return said
    return ""


def ending_in_an_average(graph: Graph) -> str:
    """Put a dense layer that changes nothing behind an average of the whole map at the model's end."""
    import numpy as np
    import onnx

    output = graph.model.graph.output[0]
    node = graph.makers.get(output.name)
    if node is None or node.op_type not in ("GlobalAveragePool", "ReduceMean", "AveragePool"):
        return ""
    shape = graph.shapes.get(node.input[0], ())
    if len(shape) != 4 or not obstacles.averages_all(graph, node):
        return ""
    said = f"{graph.called(node)}: a dense layer behind that changes nothing"
    channels, name = shape[1], output.name
    pooled, flat = edit.fresh(graph, f"{name}/pooled"), edit.fresh(graph, f"{name}/flat")
    weight = edit.weight(graph, f"{name}/scores.weight", np.eye(channels))
    node_of = onnx.helper.make_node
    # the pool gives (N, C, 1, 1) or (N, C)
    average = node_of("GlobalAveragePool", [node.input[0]], [pooled], name=node.name)
    flatten = node_of("Flatten", [pooled], [flat], name=flat)
    dense = node_of("Gemm", [flat, weight], [name], name=edit.fresh(graph, f"{name}/scores"), transB=1)
    edit.replace(graph, node, [average, flatten, dense])
    output.type.tensor_type.ClearField("shape")
    return said
