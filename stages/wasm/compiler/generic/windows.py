"""Where the windows of convolutions and pools lie, for any number of spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages import onnx_shapes
from stages.wasm.compiler.graph import Node


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
    """The windows of a Conv or pool node, whose auto_pad is resolved as onnxruntime does."""
    rank = len(kernel)
    strides = tuple(node.attributes.get("strides", [1] * rank))
    dilations = tuple(node.attributes.get("dilations", [1] * rank))
    pads = list(node.attributes.get("pads", [0] * 2 * rank))
    mode = node.attributes.get("auto_pad", "NOTSET")
    if node.op in onnx_shapes.POOLS:
        axes = [onnx_shapes.pool_axis(node.attributes, axis, lengths[axis])[0] for axis in range(rank)]
        pads = [*(before for before, _ in axes), *(after for _, after in axes)]
    elif mode == "VALID":
        pads = [0] * 2 * rank
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        for axis in range(rank):
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            total = max((output[axis] - 1) * strides[axis] + reach - lengths[axis], 0)
            small, large = total // 2, total - total // 2
            pads[axis], pads[rank + axis] = (small, large) if mode == "SAME_UPPER" else (large, small)
    return Windows(
        tuple(kernel),
        strides,
        dilations,
        tuple(pads[:rank]),
        tuple(pads[rank:]),
        tuple(lengths),
        tuple(output),
    )


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
    from stages.wasm.compiler.loops import sum_of, term

    return sum_of([term(output, w.strides[axis]), term(tap, w.dilations[axis])], -w.before[axis])
