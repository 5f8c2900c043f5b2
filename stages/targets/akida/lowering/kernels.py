"""Convolutions whose kernel, padding, dilation or groups Akida has not, in the least square kernel that holds theirs.

kernel 1x5, pads (0, 2, 0, 2)      ->  kernel 5x5, pads (2, 2, 2, 2), zeros around its middle row
kernel 3, pads (2, 0): causal      ->  kernel 5, pads (2, 2), zeros behind
kernel 3, dilation 2               ->  kernel 5, zeros between
groups of several channels         ->  one group, zeros between the groups
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.targets.akida import obstacles, windows
from recast.stages.targets.akida.lowering import edit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.targets.akida.graph import Graph

SIZES = (1, 3, 5, 7, 9, 11, 13, 15)
"""that Akida takes; those above 7 run in software"""


def square(graph: Graph) -> str:
    """Rewrite the first convolution that Akida refuses and would take so; what was done, empty if there is none."""
    for node in graph.model.graph.node:
        if node.op_type != "Conv" or obstacles.fault(graph, node) is None:
            continue
        done = _rewrite(graph, node)
        if done:
            return done
    return ""


def _rewrite(graph: Graph, node: Any) -> str:
    import numpy as np

    weight, found = graph.weights.get(node.input[1]), windows.padded(graph, node)
    strides = graph.numbers(node, "strides", 1)
    if weight is None or weight.ndim != 4 or found is None:
        return ""
    size, pads, pad_node = found
    if strides[0] != strides[1]:
        return ""
    groups = windows.groups_of(node)
    each = groups == weight.shape[0] and weight.shape[1] == 1
    dense = weight if groups == 1 or each else _ungrouped(weight, groups)
    spread = _undilated(dense, graph.numbers(node, "dilations", 1))
    for length in SIZES:
        for sides in dict.fromkeys(windows.allowed(size, (length, length), strides)):
            kernel = _embedded(spread, length, size, strides, pads, sides)
            if kernel is None or not _taken(graph, node, length, strides, sides, groups if each else 1, size):
                continue
            said = f"{graph.called(node)}: {_what(node, weight, pads, groups, each)} as a kernel of {length}x{length}"
            edit.reweigh(graph, node, 1, np.ascontiguousarray(kernel))
            for name, value in (("kernel_shape", [length] * 2), ("pads", list(sides)), ("dilations", None)):
                edit.attribute(node, name, value)
            edit.attribute(node, "auto_pad", None)
            edit.attribute(node, "group", groups if each else None)
            if pad_node is not None:
                node.input[0] = pad_node.input[0]
                if len(graph.readers[pad_node.output[0]]) == 1:
                    edit.replace(graph, pad_node, [])
            edit.drop_unread(graph)
            return said
    return ""


def _what(node: Any, weight: NDArray[Any], pads: tuple[int, ...], groups: int, each: bool) -> str:
    kernel = "x".join(map(str, weight.shape[2:]))
    parts = [f"its kernel of {kernel}, padded by {pads} (top, left, bottom, right),"]
    if groups != 1 and not each:
        parts = [f"its {groups} groups"]
    return parts[0]


def _ungrouped(weight: NDArray[Any], groups: int) -> NDArray[Any]:
    """(O, I / groups, H, W) -> (O, I, H, W)."""
    import numpy as np

    filters, channels = len(weight) // groups, weight.shape[1]
    dense = np.zeros((len(weight), channels * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * filters, (group + 1) * filters)
        dense[rows, group * channels : (group + 1) * channels] = weight[rows]
    return dense


def _undilated(weight: NDArray[Any], dilations: tuple[int, ...]) -> NDArray[Any]:
    import numpy as np

    shape = [(length - 1) * by + 1 for length, by in zip(weight.shape[2:], dilations, strict=True)]
    spread = np.zeros((*weight.shape[:2], *shape), weight.dtype)
    spread[:, :, :: dilations[0], :: dilations[1]] = weight
    return spread


def _embedded(
    weight: NDArray[Any],
    length: int,
    size: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    sides: tuple[int, ...],
) -> NDArray[Any] | None:
    """The kernel within one of `length`, padded by `sides`, that makes the same of an input; None if none does."""
    import numpy as np

    kernel = np.zeros((*weight.shape[:2], length, length), weight.dtype)
    offsets = []
    for axis in (0, 1):
        own, offset = weight.shape[2 + axis], sides[axis] - pads[axis]
        made, wanted = (
            (size[axis] + given[axis] + given[axis + 2] - reach) // strides[axis] + 1
            for given, reach in ((sides, length), (pads, own))
        )
        if offset < 0 or offset + own > length or made != wanted:
            return None
        offsets.append(offset)
    top, left = offsets
    kernel[:, :, top : top + weight.shape[2], left : left + weight.shape[3]] = weight
    return kernel


def _taken(
    graph: Graph,
    node: Any,
    length: int,
    strides: tuple[int, ...],
    sides: tuple[int, ...],
    groups: int,
    size: tuple[int, ...],
) -> bool:
    """Whether Akida takes the convolution with that kernel."""
    return windows.window_fault(graph, node, (length, length), strides, sides, size, groups) is None
