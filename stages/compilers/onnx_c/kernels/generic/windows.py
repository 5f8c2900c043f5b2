"""Where the windows of convolutions and pools lie, for any number of spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recast.stages.common.onnx_models import onnx_shapes
from recast.stages.compilers.onnx_c.graph import Node


@dataclass(frozen=True)
class Windows:
    """Per spatial axis: window length, stride, dilation, padding before and after, input and output length."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    lengths: tuple[int, ...]
    output: tuple[int, ...]

    @property
    def pads(self) -> tuple[int, ...]:
        """In ONNX's order: all before, then all after."""
        return (*self.before, *self.after)


def windows(node: Node, kernel: Sequence[int], lengths: Sequence[int], output: Sequence[int]) -> Windows:
    """The windows of a Conv, whose auto_pad is resolved as onnxruntime does."""
    rank = len(kernel)
    strides = tuple(node.attributes.get("strides", [1] * rank))
    dilations = tuple(node.attributes.get("dilations", [1] * rank))
    pads = list(node.attributes.get("pads", [0] * 2 * rank))
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode == "VALID":
        pads = [0] * 2 * rank
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        for axis in range(rank):
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            total = max((output[axis] - 1) * strides[axis] + reach - lengths[axis], 0)
            small, large = total // 2, total - total // 2
            pads[axis], pads[rank + axis] = (small, large) if mode == "SAME_UPPER" else (large, small)
    before, after = tuple(pads[:rank]), tuple(pads[rank:])
    return Windows(tuple(kernel), strides, dilations, before, after, tuple(lengths), tuple(output))


def pool_windows(op: str, node: Node, lengths: Sequence[int], output: Sequence[int]) -> Windows:
    """The windows of a node that computes the pool `op`, padded as onnxruntime does; a global one has one."""
    if op.startswith("Global"):
        return whole(lengths)
    kernel = tuple(node.attributes["kernel_shape"])
    rank = len(kernel)
    strides = tuple(node.attributes.get("strides", [1] * rank))
    dilations = tuple(node.attributes.get("dilations", [1] * rank))
    pads = [onnx_shapes.pool_axis(node.attributes, axis, lengths[axis])[0] for axis in range(rank)]
    before, after = tuple(one for one, _ in pads), tuple(one for _, one in pads)
    return Windows(kernel, strides, dilations, before, after, tuple(lengths), tuple(output))


def whole(lengths: Sequence[int]) -> Windows:
    """One window, over all."""
    ones, zeros = (1,) * len(lengths), (0,) * len(lengths)
    return Windows(tuple(lengths), ones, ones, zeros, zeros, tuple(lengths), ones)


def inside(axis_windows: Windows, axis: int, variable: str) -> str:
    """The condition that the input index held by a variable lies in the input; "" if it always does."""
    w = axis_windows
    last = (w.output[axis] - 1) * w.strides[axis] + (w.kernel[axis] - 1) * w.dilations[axis] - w.before[axis]
    conditions = [f"{variable} >= 0"] if w.before[axis] > 0 else []
    if last >= w.lengths[axis]:
        conditions.append(f"{variable} < {w.lengths[axis]}")
    return " && ".join(conditions)


def place(w: Windows, axis: int, output: str, tap: str) -> str:
    """The C expression of the input index that tap `tap` of window `output` reads along an axis."""
    from recast.stages.compilers.onnx_c.syntax.loops import sum_of, term

    return sum_of([term(output, w.strides[axis]), term(tap, w.dilations[axis])], -w.before[axis])
