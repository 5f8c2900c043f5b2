"""LayerNorm, BatchNorm with the statistics of training, InstanceNorm and GroupNorm."""

from __future__ import annotations

import math
from collections.abc import Iterable

from recast.stages.targets.zml.codegen import zig_text
from recast.stages.targets.zml.codegen.calls import Call, UnsupportedError, Value, dims_of, floating


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
    text = _standardised(call, x.name, axes, eps)
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


def instance_norm(
    call: Call, x: Value, weight: Value | None = None, bias: Value | None = None, eps: float = 1e-5
) -> str:
    """Per sample and channel, over all axes behind the second."""
    floating(x)
    made = call.let("normalised", _standardised(call, x.name, x.axes[2:], eps))
    return f"{made}{_per_channel(x, weight, bias)}"


def group_norm(
    call: Call,
    x: Value,
    num_groups: int,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
) -> str:
    """Per sample and group of channels."""
    floating(x)
    batch, *rest = dims_of(x)
    groups = zig_text.values((batch, num_groups, math.prod(rest) // num_groups))
    grouped = call.let("grouped", f"{x.name}.reshape({groups}).withTags({zig_text.tags(('b', 's', 'd'))})")
    standard = _standardised(call, grouped, ("d",), eps)
    made = call.let("normalised", f"{standard}.reshape({zig_text.values((batch, *rest))}){call.retagged}")
    return f"{made}{_per_channel(x, weight, bias)}"


def _standardised(call: Call, x: str, axes: Iterable[str], eps: float) -> str:
    """x with a mean of 0 and a variance of 1 along these axes."""
    means = "".join(f".mean(.{axis})" for axis in axes)
    average = call.let("average", f"{x}{means}")
    centred = call.let("centred", f"{x}.sub({average}.broad({x}.shape()))")
    variance = call.let("variance", f"{centred}.mul({centred}){means}")
    return f"{centred}.mul({variance}.addConstant({zig_text.number(eps)}).rsqrt().broad({x}.shape()))"


def _per_channel(x: Value, weight: Value | None, bias: Value | None) -> str:
    spread = f".withTags(.{{{x.axis(1)}}}).broad({x.name}.shape())"
    parts = (("mul", weight), ("add", bias))
    return "".join(f".{verb}({one.name}{spread})" for verb, one in parts if one is not None)
