"""What Akida takes of a transposed convolution: stride 2, twice the height and width, and one padding for each kernel.

cnn2snn takes a square kernel k with pads that add up to k - 2, the larger half behind, and so an output of exactly
twice the input. Kernels of 3 and 4 run in hardware (akida 2.19.3), the others in software.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recast.stages.targets.akida import windows
from recast.stages.targets.akida.graph import Fault, Graph, by

SIZES = (3, 4, 2, *range(5, 16))
"""of kernels, those that run in hardware first"""
IN_HARDWARE = (3, 4)


@dataclass(frozen=True)
class Transposed:
    """A transposed convolution with stride 2 that makes twice its input."""

    begins: tuple[int, ...]
    """padding: top and left"""
    is_taken: bool
    """as it is written"""


def pads_of(length: int) -> tuple[int, int]:
    """Before and after, of a kernel of that length."""
    return (length - 2) // 2, length - 2 - (length - 2) // 2


def look(graph: Graph, node: Any) -> Transposed | Fault:
    """What it is, or why it cannot be run."""
    if fault := windows.kernel_fault(graph, node):
        return fault
    kernel = graph.weights[node.input[1]].shape[2:]
    strides = graph.numbers(node, "strides", 1)
    if strides != (2, 2):
        why = f"has strides of {by(strides)}, and Akida's transposed convolutions have 2x2"
        return Fault(why, "double the size as often as it takes, by nn.ConvTranspose2d with stride=2")
    if fault := windows.spread_fault(graph, node):
        return fault
    size = tuple(graph.shapes.get(node.input[0], ()))[2:]
    made = tuple(graph.shapes.get(node.output[0], ()))[2:]
    if made != tuple(2 * length for length in size):
        why = f"makes {by(made)} of {by(size)}, and Akida's transposed convolutions make twice the height and width"
        return Fault(why, "use kernel_size=4 with padding=1, or kernel_size=3 with padding=1 and output_padding=1")
    extra = graph.numbers(node, "output_padding", 0)
    mode = next((bytes(one.s).decode() for one in node.attribute if one.name == "auto_pad"), "NOTSET")
    stated = any(one.name == "output_shape" for one in node.attribute)
    if mode in ("SAME_UPPER", "SAME_LOWER") or stated:
        # as ONNX has it: what is cut off in all, the larger half behind or in front
        totals = [own + more - 2 for own, more in zip(kernel, extra, strict=True)]
        begins = tuple(total // 2 if mode == "SAME_UPPER" else total - total // 2 for total in totals)
    else:
        begins = graph.numbers(node, "pads", 0, 4)[:2] if mode == "NOTSET" else (0, 0)
    is_square = kernel[0] == kernel[1] and not any(extra) and not stated
    return Transposed(begins, is_square and begins == (pads_of(kernel[0])[0],) * 2)
