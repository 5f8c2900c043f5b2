"""What Akida takes of a convolution: its kernel, strides, groups and padding."""

from __future__ import annotations

from typing import Any

from recast.stages.targets.akida.graph import Fault, Graph, by, next_reader

ACTIVATIONS = ("Relu", "Clip")
"""what may stand between a convolution and its pool"""
EVEN_KERNELS, FIRST_KERNELS = ((3, 3),), ((3, 3), (5, 5), (7, 7))
"""kernels that may be padded alike on all sides with stride 2: of any layer, and of the first"""


def kernel_fault(graph: Graph, node: Any) -> Fault | None:
    """What is wrong with the kernel of a convolution, transposed or not, whatever its size."""
    weight = graph.weights.get(node.input[1])
    if weight is None:
        return Fault("has a kernel that is computed", "give it a constant kernel")
    axes = weight.ndim - 2
    if axes != 2:
        return Fault(f"convolves over {axes} axes, and Akida over two", f"use {node.op_type}2d on samples (C, H, W)")
    return None


def spread_fault(graph: Graph, node: Any) -> Fault | None:
    """The same of its dilation and groups."""
    if max(graph.numbers(node, "dilations", 1)) > 1:
        return Fault("is dilated, and Akida's convolutions are not", "drop the dilation, or use a larger kernel")
    weight, groups = graph.weights[node.input[1]], groups_of(node)
    if groups != 1 and (weight.shape[1] != 1 or weight.shape[0] != groups):
        why = f"has {groups} groups, and Akida's convolutions have 1, or one for each channel"
        return Fault(why, "use groups=1, or groups equal to the channels on both sides")
    return None


def groups_of(node: Any) -> int:
    """How many groups a convolution has."""
    return next((int(one.i) for one in node.attribute if one.name == "group"), 1)


def convolution_fault(graph: Graph, node: Any) -> Fault | None:
    if found := kernel_fault(graph, node):
        return found
    kernel = graph.weights[node.input[1]].shape[2:]
    strides = graph.numbers(node, "strides", 1)
    if graph.signals and kernel[0] == 1 != kernel[1]:
        why = f"has a kernel of {kernel[1]} over a signal, for whose length, padding and stride Akida has no square one"
        return Fault(
            why, "use an odd kernel of up to 15 padded by half of it, with stride 1, or a kernel of 3 with stride 2"
        )
    if kernel[0] != kernel[1]:
        return Fault(f"has a kernel of {by(kernel)}, and Akida's are square", "make the kernel square")
    if strides[0] != strides[1]:
        return Fault(f"has strides of {by(strides)}, and Akida's are equal", "make both strides equal")
    if found := spread_fault(graph, node):
        return found
    window = padded(graph, node)
    size, pads, _ = window if window is not None else ((), (), None)
    return window_fault(graph, node, kernel, strides, pads, size, groups_of(node))


def window_fault(
    graph: Graph,
    node: Any,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    size: tuple[int, ...],
    groups: int,
) -> Fault | None:
    """What would be wrong with the node's convolution, had it this square kernel and were it padded so.

    `pads`: (top, left, bottom, right); `size`: of what it reads, without padding; not looked at where that is empty.
    """
    first = graph.is_first(node)
    if not first and kernel[0] % 2 == 0:
        why = f"has a kernel of {by(kernel)}, and those of Akida have an odd size behind the first layer"
        return Fault(why, "use a kernel of 1, 3, 5 or 7")
    if not first and strides[0] > 2:
        return Fault(f"has a stride of {strides[0]}, and Akida's are 1 and 2", "use a stride of 1 or 2")
    if groups != 1 and strides != (1, 1):
        return None  # it is split into a step of stride 1 and one without weights
    if first and strides[0] == 2 and kernel[0] > 7:
        return Fault(
            f"has a kernel of {by(kernel)} with stride 2, and Akida's reach to 7x7", "use a kernel of 3, 5 or 7"
        )
    if not first and strides[0] == 2 and kernel[0] > 3:
        why = f"has a kernel of {by(kernel)} with stride 2, and those of Akida are 1x1 and 3x3 behind the first layer"
        return Fault(why, "use a kernel of 3 with stride 2, or stride 1")
    return _padding(graph, node, kernel, strides, pads, size) if size else None


def padded(graph: Graph, node: Any) -> tuple[tuple[int, ...], tuple[int, ...], Any] | None:
    """What a convolution reads, (height, width) without padding; its padding (top, left, bottom, right), with that of
    a Pad in front; and that Pad, or None. None where a size is not known."""
    given, source, found = graph.numbers(node, "pads", 0, 4), node.input[0], None
    pad = graph.makers.get(source)
    if pad is not None and pad.op_type == "Pad" and len(pad.input) > 1 and pad.input[1] in graph.weights:
        amounts = [int(one) for one in graph.weights[pad.input[1]]]
        filler = graph.weights.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else None
        zeros = filler is None or not filler.any()
        mode = next((bytes(one.s).decode() for one in pad.attribute if one.name == "mode"), "constant")
        if len(amounts) == 8 and mode == "constant" and zeros and not any((*amounts[:2], *amounts[4:6])):
            given = tuple(a + b for a, b in zip(given, (*amounts[2:4], *amounts[6:8]), strict=True))
            source, found = pad.input[0], pad
    size = graph.shapes.get(source, ())[2:]
    return (size, given, found) if len(size) == 2 and all(size) else None


def _padding(
    graph: Graph,
    node: Any,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    given: tuple[int, ...],
    size: tuple[int, ...],
) -> Fault | None:
    first = graph.is_first(node)
    none, ending, starting, even = allowed(size, kernel, strides)
    pads = f"pads by {given} (top, left, bottom, right) for a kernel of {by(kernel)} with stride {strides[0]}"
    if given == ending or (given == none and given not in (starting, even)):
        return None
    if given not in (starting, even):
        *most, last = dict.fromkeys((none, ending, starting, even))
        taken = f"{', '.join(map(str, most))} or {last}" if most else str(last)
        return Fault(f"{pads}, where Akida pads by {taken}", _pad_by(ending))
    kernels = FIRST_KERNELS if first else EVEN_KERNELS
    if strides != (2, 2) or kernel not in kernels:
        why = f"{pads}, and Akida pads so only kernels of {' and '.join(by(one) for one in kernels)} with stride 2"
        return Fault(why, _pad_by(ending))
    pool = next_reader(graph, node, (*ACTIVATIONS, "BatchNormalization"))
    if pool is not None and pool.op_type == "MaxPool":
        return Fault(f"{pads}, and no MaxPool can follow that on Akida", _pad_by(ending), is_of_pool=True)
    return None


def _pad_by(sides: tuple[int, ...]) -> str:
    top, left, bottom, right = sides
    return f"pad by nn.ZeroPad2d(({left}, {right}, {top}, {bottom})) in front, with padding=0"


def allowed(
    size: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(top, left, bottom, right) that Akida takes: without padding, and with the smallest one that makes
    ceil(size / stride) outputs: the larger half at the end, at the start, and on both sides (ONNX's SAME_UPPER and
    SAME_LOWER, and PyTorch's)."""
    along = [max(k - (s if n % s == 0 else n % s), 0) for n, k, s in zip(size, kernel, strides, strict=True)]
    small, large = tuple(one // 2 for one in along), tuple(one - one // 2 for one in along)
    return (0, 0, 0, 0), (*small, *large), (*large, *small), (*large, *large)
