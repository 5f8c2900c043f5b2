"""Maps made larger: by repetition, and by channels that become pixels."""

from __future__ import annotations

from typing import Any

from recast.stages.targets.zml.codegen import zig_text
from recast.stages.targets.zml.codegen.calls import Call, UnsupportedError, Value, dims_of, floating
from recast.stages.targets.zml.codegen.operations import MOST_JOINED


def upsample(call: Call, x: Value, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **_: Any) -> str:
    """By whole numbers, each pixel repeated."""
    if mode not in ("nearest", "nearest-exact"):
        raise UnsupportedError(f"mode {mode}, and only nearest is written")
    if floating(x).rank != 4:
        raise UnsupportedError(f"{x.rank} axes where (N, C, H, W) is expected")
    text = x.name
    shape = dims_of(x)
    for axis in (3, 2):
        times, rest = divmod(call.output.shape[axis], shape[axis])
        if rest or times > MOST_JOINED:
            sizes = f"{x.shape[2:]} to {call.output.shape[2:]}"
            raise UnsupportedError(f"{sizes}, which is no multiple up to {MOST_JOINED}")
        if times == 1:
            continue
        # an axis of one behind it is joined to itself, and becomes part of it
        apart = [*shape[: axis + 1], 1, *shape[axis + 1 :]]
        names = ["b", "c", "h", "w"]
        names.insert(axis + 1, "again")
        tags = zig_text.tags(names)
        one = call.let("one", f"{text}.reshape({zig_text.values(apart)}).withTags({tags})")
        copies = ", ".join([one] * times)
        shape[axis] *= times
        joined = f"zml.Tensor.concatenate(&.{{ {copies} }}, .again)"
        text = call.let("repeated", f"{joined}.reshape({zig_text.values(shape)}){call.retagged}")
    return text


def pixel_shuffle(call: Call, x: Value, upscale_factor: int) -> str:
    """(N, C r², H, W) -> (N, C, H r, W r)."""
    if floating(x).rank != 4:
        raise UnsupportedError(f"{x.rank} axes where (N, C, H, W) is expected")
    batch, channels, height, width = dims_of(x)
    by = upscale_factor
    apart = zig_text.values((batch, channels // by**2, by, by, height, width))
    named = f"{x.name}.reshape({apart}).withTags({zig_text.tags(('b', 'c', 'down', 'across', 'h', 'w'))})"
    moved = f"{named}.transpose({zig_text.tags(('b', 'c', 'h', 'down', 'w', 'across'))})"
    return f"{moved}.reshape({zig_text.values(dims_of(call.output))}){call.retagged}"
