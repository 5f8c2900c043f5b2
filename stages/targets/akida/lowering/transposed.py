"""Transposed convolutions, which Akida has with strides of 2, twice the height and width, and its own padding only.

kernel 3, padding 1, output_padding 1  ->  kernel 4, padding 1, zeros behind: what nn.ConvTranspose2d doubles by
kernel 2                               ->  kernel 3, zeros behind: kernels of 3 and 4 run in hardware, others do not

An output at 2i + k - begin is the kernel's number k times input i. In a larger kernel of zeros the number stands at
another place, and the padding in front grows by as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.targets.akida import transposed
from recast.stages.targets.akida.lowering import edit

if TYPE_CHECKING:
    from recast.stages.targets.akida.graph import Graph


def doubling(graph: Graph) -> str:
    """Rewrite the first that Akida takes so, and not as it is, or in software only; what was done."""
    for node in graph.model.graph.node:
        if node.op_type == "ConvTranspose":
            done = _rewrite(graph, node)
            if done:
                return done
    return ""


def _rewrite(graph: Graph, node: Any) -> str:
    import numpy as np

    found = transposed.look(graph, node)
    if not isinstance(found, transposed.Transposed):
        return ""
    weight = graph.weights[node.input[1]]
    kernel = weight.shape[2:]
    for length in transposed.SIZES:
        places = [transposed.pads_of(length)[0] - begin for begin in found.begins]
        if all(0 <= place <= length - own for place, own in zip(places, kernel, strict=True)):
            break
    else:
        return ""
    if found.is_taken and (kernel[0] == length or length not in transposed.IN_HARDWARE):
        return ""
    larger = np.zeros((*weight.shape[:2], length, length), weight.dtype)
    larger[:, :, places[0] : places[0] + kernel[0], places[1] : places[1] + kernel[1]] = weight
    edit.reweigh(graph, node, 1, larger)
    before, after = transposed.pads_of(length)
    for name, value in (("kernel_shape", [length] * 2), ("pads", [before, before, after, after])):
        edit.attribute(node, name, value)
    for name in ("output_padding", "output_shape", "auto_pad"):
        edit.attribute(node, name, None)
    was = "x".join(map(str, kernel))
    return f"{graph.called(node)}: its transposed kernel of {was} as one of {length}x{length}"
