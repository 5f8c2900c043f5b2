"""Convolution and pooling: what slides a window over the last two of four axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from recast.stages.targets.zml.codegen import zig_text
from recast.stages.targets.zml.codegen.calls import Call, UnsupportedError, Value, floating


def conv2d(
    call: Call,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> str:
    """x {b, c, h, w} by weight {o, c / groups, kh, kw}."""
    _four_axes(x)
    strides, dilations = _pair(stride), _pair(dilation)
    options = []
    if strides != (1, 1):
        options.append(f".window_strides = &{zig_text.values(strides)}")
    sides = _sides(padding, weight.shape[2:], dilations)
    if any(sides):
        options.append(f".padding = &{zig_text.values(sides)}")
    if dilations != (1, 1):
        options.append(f".rhs_dilation = &{zig_text.values(dilations)}")
    if groups != 1:
        options.append(f".feature_group_count = {groups}")
    return _convolved(call, x, weight, bias, options)


def conv_transpose2d(
    call: Call,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> str:
    """x {b, c, h, w} by weight {c, o, kh, kw}: a convolution of x spread apart by the stride, its kernel reversed."""
    _four_axes(x)
    if groups != 1:
        raise UnsupportedError(f"{groups} groups of a transposed convolution")
    strides, dilations, pads, more = _pair(stride), _pair(dilation), _pair(padding), _pair(output_padding)
    sides = []
    for axis in (0, 1):
        reach = dilations[axis] * (weight.shape[2 + axis] - 1) - pads[axis]
        sides += [reach, reach + more[axis]]
    options = [f".padding = &{zig_text.values(sides)}"]
    if strides != (1, 1):
        options.append(f".lhs_dilation = &{zig_text.values(strides)}")
    if dilations != (1, 1):
        options.append(f".rhs_dilation = &{zig_text.values(dilations)}")
    options.append(".window_reversal = &.{ true, true }")
    options += [".kernel_input_feature_dimension = 0", ".kernel_output_feature_dimension = 1"]
    return _convolved(call, x, weight, bias, options)


def max_pool2d(
    call: Call,
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> str:
    """Over the last two axes; padding never wins."""
    _four_axes(x)
    if return_indices:
        raise UnsupportedError("return_indices")
    window, pads, dilations = _pair(kernel_size), _pair(padding), _pair(dilation)
    strides = _pair(window if unset(stride) else stride)
    _whole_windows(ceil_mode)
    options = [f".window_dimensions = {zig_text.values(window)}", f".window_strides = {zig_text.values(strides)}"]
    if dilations != (1, 1):
        options.append(f".window_dilations = {zig_text.values(dilations)}")
    if any(pads):
        options.append(f".padding = {zig_text.values(zig_text.values((pad, pad)) for pad in pads)}")
    return f"{x.name}.maxPool2d({zig_text.options(options)}).values{call.retagged}"


def avg_pool2d(
    call: Call,
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> str:
    """Over the last two axes."""
    _four_axes(x)
    _whole_windows(ceil_mode)
    window, pads = _pair(kernel_size), _pair(padding)
    strides = _pair(window if unset(stride) else stride)
    how = ", ".join(zig_text.values(pair) for pair in (window, strides, pads))
    call.use("sumWindows")
    total = f"sumWindows({x.name}, {how})"
    if any(pads) and not count_include_pad and not divisor_override:
        ones = f"zml.Tensor.scalar(1, {x.name}.dtype()).broad({x.name}.shape())"
        return f"{total}.div(sumWindows({ones}, {how}))"
    return f"{total}.divByConst({divisor_override or math.prod(window)})"


def adaptive_avg_pool2d(call: Call, x: Value, output_size: Any) -> str:
    """To a size that divides the input's."""
    _four_axes(x)
    if x.shape[2:] == call.output.shape[2:]:
        return x.name
    if call.output.shape[2:] == (1, 1):
        return f"{x.name}.mean(.h).mean(.w)"
    if any(size % out for size, out in zip(x.shape[2:], call.output.shape[2:], strict=True)):
        raise UnsupportedError(f"{x.shape[2:]} to {call.output.shape[2:]}, which does not divide it")
    window = tuple(size // out for size, out in zip(x.shape[2:], call.output.shape[2:], strict=True))
    return avg_pool2d(call, x, window)


def unset(stride: Any) -> bool:
    """Whether a pooling's stride is left to be its window: None, or the empty list that PyTorch's exporter writes."""
    return stride is None or stride == []


def _convolved(call: Call, x: Value, weight: Value, bias: Value | None, options: Sequence[str]) -> str:
    result = call.let("y", f"{x.name}.conv2d({weight.name}, {zig_text.options(options)}){call.retagged}")
    return f"{result}.add({bias.name}.withTags(.{{.c}}).broad({result}.shape()))" if bias else result


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    pair = tuple(value)
    return (pair[0], pair[0]) if len(pair) == 1 else (pair[0], pair[1])


def _sides(padding: Any, kernel: Sequence[int], dilations: Sequence[int]) -> tuple[int, int, int, int]:
    """Top, bottom, left, right. `same` puts the odd one at the end, as PyTorch does."""
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        totals = [dilation * (size - 1) for size, dilation in zip(kernel, dilations, strict=True)]
        return totals[0] // 2, totals[0] - totals[0] // 2, totals[1] // 2, totals[1] - totals[1] // 2
    rows, columns = _pair(padding)
    return rows, rows, columns, columns


def _four_axes(x: Value) -> None:
    if floating(x).rank != 4:
        raise UnsupportedError(f"a sample without a batch: {x.rank} axes where (N, C, H, W) is expected")


def _whole_windows(ceil_mode: bool) -> None:
    if ceil_mode:
        raise UnsupportedError("ceil_mode")
