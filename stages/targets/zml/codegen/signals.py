"""Convolution and pooling over signals (N, C, T): those over maps, on maps of height 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from recast.stages.targets.zml.codegen import windows, zig_text
from recast.stages.targets.zml.codegen.calls import Call, UnsupportedError, Value, dims_of, floating

MAP = zig_text.AXES[4]


def conv1d(
    call: Call,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> str:
    """x {b, c, w} by weight {o, c / groups, kw}."""
    outputs, channels, length = weight.shape
    raised = f"{weight.name}.reshape({zig_text.values((outputs, channels, 1, length))})"
    kernel = call.let("kernel", f"{raised}.withTags({zig_text.tags(('o', 'i', 'kh', 'kw'))})")
    weight_of_maps = Value(kernel, (outputs, channels, 1, length), (outputs, channels, 1, length))
    sides = padding if isinstance(padding, str) else (0, _one(padding))

    def over(inner: Call, maps: Value) -> str:
        steps = ((1, _one(stride)), sides, (1, _one(dilation)))
        return windows.conv2d(inner, maps, weight_of_maps, bias, *steps, groups)

    return _over_maps(call, x, over)


def max_pool1d(
    call: Call,
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> str:
    """Over the last axis; padding never wins."""
    window = (1, _one(kernel_size))
    strides = window if windows.unset(stride) else (1, _one(stride))
    sizes = (window, strides, (0, _one(padding)), (1, _one(dilation)))
    return _over_maps(call, x, lambda inner, maps: windows.max_pool2d(inner, maps, *sizes, ceil_mode, return_indices))


def avg_pool1d(
    call: Call,
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> str:
    """Over the last axis."""
    window = (1, _one(kernel_size))
    strides = window if windows.unset(stride) else (1, _one(stride))
    how = (window, strides, (0, _one(padding)), ceil_mode, count_include_pad)
    return _over_maps(call, x, lambda inner, maps: windows.avg_pool2d(inner, maps, *how))


def adaptive_avg_pool1d(call: Call, x: Value, output_size: Any) -> str:
    """To a length that divides the input's."""
    return _over_maps(call, x, lambda inner, maps: windows.adaptive_avg_pool2d(inner, maps, output_size))


def _over_maps(call: Call, x: Value, over: Callable[[Call, Value], str]) -> str:
    """What the operation over maps gives for signals of height 1, as signals again."""
    if floating(x).rank != 3:
        raise UnsupportedError(f"a sample without a batch: {x.rank} axes where (N, C, L) is expected")
    raised = f"{x.name}.reshape({zig_text.values(_with_height(dims_of(x)))}).withTags({zig_text.tags(MAP)})"
    maps = _as_maps(call.let("maps", raised), x)
    made = over(replace(call, output=_as_maps("", call.output)), maps)
    # the lines of the inner call are the outer one's
    return f"{call.let('made', made)}.reshape({zig_text.values(dims_of(call.output))}){call.retagged}"


def _as_maps(name: str, signals: Value) -> Value:
    return Value(name, tuple(_with_height(signals.shape)), tuple(_with_height(signals.other_shape)))


def _with_height(shape: Any) -> list[int]:
    batch, channels, length = shape
    return [batch, channels, 1, length]


def _one(value: Any) -> int:
    return value if isinstance(value, int) else int(next(iter(value)))
