"""Windows that slide over images: what Conv and the pools share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.targets.cairo.ops.operation import Source, Unsupported

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_window(source: Source, kernel: Sequence[int]) -> dict[str, Any]:
    """kernel, strides, dilations, and padding before each axis; that behind it follows from the output's shape."""
    axes = len(kernel)
    if axes not in (1, 2) or len(source.shapes[0]) != axes + 1:
        raise Unsupported(f"its window has {axes} axes; 1 and 2 are possible")
    strides = [int(step) for step in source.attributes.get("strides", [1] * axes)]
    dilations = [int(step) for step in source.attributes.get("dilations", [1] * axes)]
    automatic = source.attributes.get("auto_pad", b"NOTSET")
    automatic = automatic.decode() if isinstance(automatic, bytes) else automatic
    if automatic in ("NOTSET", "VALID"):
        pads = [int(pad) for pad in source.attributes.get("pads", [0] * 2 * axes)]
        before = [0] * axes if automatic == "VALID" else pads[:axes]
    else:
        spans = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
        image, made = source.shapes[0][1:], source.shape[1:]
        total = [
            max((out - 1) * stride + span - size, 0)
            for out, stride, span, size in zip(made, strides, spans, image, strict=True)
        ]
        before = [pad // 2 if automatic == "SAME_UPPER" else pad - pad // 2 for pad in total]
    return {"kernel": list(map(int, kernel)), "strides": strides, "dilations": dilations, "before": before}


def window_elements(window: Mapping[str, Any], image: Sequence[int], made: Sequence[int]) -> NDArray[Any]:
    """(positions, taps): which elements of one channel each window covers; -1 where it is over the edge."""
    import numpy as np

    axes = []
    for size, out, kernel, stride, dilation, before in zip(
        image,
        made,
        window["kernel"],
        window["strides"],
        window["dilations"],
        window["before"],
        strict=True,
    ):
        at = np.arange(out)[:, None] * stride + np.arange(kernel) * dilation - before
        axes.append(np.where((at < 0) | (at >= size), -1, at))
    if len(axes) == 1:
        return axes[0]
    rows, columns = axes
    found = np.where(
        (rows[:, None, :, None] < 0) | (columns[None, :, None, :] < 0),
        -1,
        rows[:, None, :, None] * image[1] + columns[None, :, None, :],
    )
    return found.reshape(math.prod(made), -1)
