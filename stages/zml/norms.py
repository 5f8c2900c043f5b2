"""LayerNorm and BatchNorm, with the statistics of training."""

from __future__ import annotations

from collections.abc import Iterable

from stages.zml import zig_text
from stages.zml.calls import Call, UnsupportedError, Value, floating


def layer_norm(
    call: Call,
    x: Value,
    normalized_shape: Iterable[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
) -> str:
    """Over the last axes, as many as `normalized_shape` has."""
    axes = floating(x).axes[x.rank - len(tuple(normalized_shape)) :]
    means = "".join(f".mean(.{axis})" for axis in axes)
    average = call.let("average", f"{x.name}{means}")
    centred = call.let("centred", f"{x.name}.sub({average}.broad({x.name}.shape()))")
    variance = call.let("variance", f"{centred}.mul({centred}){means}")
    text = f"{centred}.mul({variance}.addConstant({zig_text.number(eps)}).rsqrt().broad({x.name}.shape()))"
    for verb, one in (("mul", weight), ("add", bias)):
        if one is not None:
            text += f".{verb}({one.name}.withTags({zig_text.tags(axes)}).broad({x.name}.shape()))"
    return text


def batch_norm(
    call: Call,
    x: Value,
    running_mean: Value | None,
    running_var: Value | None,
    weight: Value | None = None,
    bias: Value | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> str:
    """Per channel, the second axis, with the statistics of training."""
    if training or running_mean is None or running_var is None:
        raise UnsupportedError("it takes its statistics from the batch (track_running_stats is off)")
    floating(x)
    inverse = f"{running_var.name}.addConstant({zig_text.number(eps)}).rsqrt()"
    factor = call.let("factor", f"{inverse}.mul({weight.name})" if weight else inverse)
    shift = f"{running_mean.name}.mul({factor}).negate()"
    offset = call.let("offset", f"{shift}.add({bias.name})" if bias else shift)
    spread = f".withTags(.{{{x.axis(1)}}}).broad({x.name}.shape())"
    return f"{x.name}.mul({factor}{spread}).add({offset}{spread})"
