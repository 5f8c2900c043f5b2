"""PyTorch's modules that have an operation: each becomes a struct with the module's own tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from recast.stages.targets.zml.codegen import norms, products, resizing, signals, windows, zig_text
from recast.stages.targets.zml.codegen import operations as ops
from recast.stages.targets.zml.codegen.calls import Call, UnsupportedError, Value

if TYPE_CHECKING:
    from torch import nn

ModuleOperation: TypeAlias = "Callable[..., str]"
"""(call, module, its arguments) -> expression"""


def modules() -> dict[type, ModuleOperation]:
    """Module class -> operation. Needs torch. A subclass of one of these counts as code of its own."""
    from torch import nn

    return {
        nn.Linear: _linear,
        nn.Conv2d: _conv2d,
        nn.Conv1d: _conv1d,
        nn.ConvTranspose2d: _conv_transpose2d,
        nn.MaxPool2d: _max_pool2d,
        nn.MaxPool1d: _max_pool1d,
        nn.AvgPool2d: _avg_pool2d,
        nn.AvgPool1d: _avg_pool1d,
        nn.AdaptiveAvgPool2d: lambda call, module, x: windows.adaptive_avg_pool2d(call, x, module.output_size),
        nn.AdaptiveAvgPool1d: lambda call, module, x: signals.adaptive_avg_pool1d(call, x, module.output_size),
        nn.Upsample: lambda call, module, x: resizing.upsample(call, x, mode=module.mode),
        nn.UpsamplingNearest2d: lambda call, module, x: resizing.upsample(call, x),
        nn.PixelShuffle: lambda call, module, x: resizing.pixel_shuffle(call, x, module.upscale_factor),
        nn.InstanceNorm1d: _instance_norm,
        nn.InstanceNorm2d: _instance_norm,
        nn.GroupNorm: _group_norm,
        nn.BatchNorm1d: _batch_norm,
        nn.BatchNorm2d: _batch_norm,
        nn.LayerNorm: _layer_norm,
        nn.Embedding: _embedding,
        nn.MultiheadAttention: _attention,
        nn.ReLU: _elementwise("relu"),
        nn.ReLU6: _elementwise("relu6"),
        nn.SiLU: _elementwise("silu"),
        nn.Sigmoid: _elementwise("sigmoid"),
        nn.Tanh: _elementwise("tanh"),
        nn.Hardswish: _elementwise("hardswish"),
        nn.Hardsigmoid: _elementwise("hardsigmoid"),
        nn.Softplus: _softplus,
        nn.LeakyReLU: lambda call, module, x: ops.leaky_relu(call, x, module.negative_slope),
        nn.ELU: lambda call, module, x: ops.elu(call, x, module.alpha),
        nn.Hardtanh: lambda call, module, x: ops.clamp(call, x, module.min_val, module.max_val),
        nn.ZeroPad2d: lambda call, module, x: ops.pad(call, x, module.padding),
        nn.ConstantPad1d: lambda call, module, x: ops.pad(call, x, module.padding, value=module.value),
        nn.ReflectionPad2d: lambda call, module, x: ops.pad(call, x, module.padding, "reflect"),
        nn.ReplicationPad2d: lambda call, module, x: ops.pad(call, x, module.padding, "replicate"),
        nn.GELU: lambda call, module, x: ops.gelu(call, x, module.approximate),
        nn.Softmax: lambda call, module, x: ops.softmax(call, x, module.dim),
        nn.LogSoftmax: lambda call, module, x: ops.log_softmax(call, x, module.dim),
        nn.Flatten: lambda call, module, x: ops.reshape(call, x),
        nn.Unflatten: lambda call, module, x: ops.reshape(call, x),
        # nothing in inference; a struct all the same, so that every layer of the model has one
        nn.Dropout: _elementwise("same"),
        nn.Dropout1d: _elementwise("same"),
        nn.Dropout2d: _elementwise("same"),
        nn.AlphaDropout: _elementwise("same"),
        nn.Identity: _elementwise("same"),
    }


def supported() -> str:
    """The modules, for a message."""
    return ", ".join(sorted(kind.__name__ for kind in modules()))


def _elementwise(kind: str) -> ModuleOperation:
    operation = ops.elementwise(kind)
    return lambda call, module, x: operation(call, x)


def _softplus(call: Call, module: nn.Softplus, x: Value) -> str:
    if module.beta != 1:
        raise UnsupportedError(f"beta {module.beta}, and only 1 is written")
    return ops.elementwise("softplus")(call, x)


def _own(call: Call, module: nn.Module, name: str, axes: tuple[str, ...]) -> Value:
    """The module's tensor as a value."""
    shape = tuple(getattr(module, name).shape)
    return Value(call.own(name, axes), shape, shape)


def _optional(call: Call, module: nn.Module, name: str, axes: tuple[str, ...]) -> Value | None:
    """As `_own`, or None where the module has none."""
    return None if getattr(module, name) is None else _own(call, module, name, axes)


def _linear(call: Call, module: nn.Linear, x: Value) -> str:
    weight = call.own("weight", ("d_out", "d"))
    y = call.let("y", f"{products.last_is_d(x)}.dot({weight}, .d)")
    if module.bias is None:
        return f"{y}{call.retagged}"
    return f"{y}.add({call.own('bias', ('d_out',))}.broad({y}.shape())){call.retagged}"


def _conv2d(call: Call, module: nn.Conv2d, x: Value) -> str:
    if module.padding_mode != "zeros":
        raise UnsupportedError(f"padding_mode {module.padding_mode}")
    weight = _own(call, module, "weight", ("o", "i", "kh", "kw"))
    bias = _optional(call, module, "bias", ("c",))
    return windows.conv2d(call, x, weight, bias, module.stride, module.padding, module.dilation, module.groups)


def _conv_transpose2d(call: Call, module: nn.ConvTranspose2d, x: Value) -> str:
    weight = _own(call, module, "weight", ("i", "o", "kh", "kw"))
    bias = _optional(call, module, "bias", ("c",))
    sizes = (module.stride, module.padding, module.output_padding)
    return windows.conv_transpose2d(call, x, weight, bias, *sizes, module.groups, module.dilation)


def _conv1d(call: Call, module: nn.Conv1d, x: Value) -> str:
    if module.padding_mode != "zeros":
        raise UnsupportedError(f"padding_mode {module.padding_mode}")
    weight = _own(call, module, "weight", ("o", "i", "kw"))
    bias = _optional(call, module, "bias", ("c",))
    return signals.conv1d(call, x, weight, bias, module.stride, module.padding, module.dilation, module.groups)


def _max_pool1d(call: Call, module: nn.MaxPool1d, x: Value) -> str:
    sizes = (module.kernel_size, module.stride, module.padding, module.dilation)
    return signals.max_pool1d(call, x, *sizes, module.ceil_mode, module.return_indices)


def _avg_pool1d(call: Call, module: nn.AvgPool1d, x: Value) -> str:
    sizes = (module.kernel_size, module.stride, module.padding)
    return signals.avg_pool1d(call, x, *sizes, module.ceil_mode, module.count_include_pad)


def _max_pool2d(call: Call, module: nn.MaxPool2d, x: Value) -> str:
    sizes = (module.kernel_size, module.stride, module.padding, module.dilation)
    return windows.max_pool2d(call, x, *sizes, module.ceil_mode, module.return_indices)


def _avg_pool2d(call: Call, module: nn.AvgPool2d, x: Value) -> str:
    sizes = (module.kernel_size, module.stride, module.padding, module.ceil_mode)
    return windows.avg_pool2d(call, x, *sizes, module.count_include_pad, module.divisor_override)


def _batch_norm(call: Call, module: nn.BatchNorm2d, x: Value) -> str:
    names = ("running_mean", "running_var", "weight", "bias")
    mean, variance, weight, bias = (_optional(call, module, name, ("c",)) for name in names)
    return norms.batch_norm(call, x, mean, variance, weight, bias, eps=module.eps)


def _instance_norm(call: Call, module: nn.InstanceNorm2d, x: Value) -> str:
    if module.track_running_stats:
        return _batch_norm(call, module, x)
    weight, bias = (_optional(call, module, name, ("c",)) for name in ("weight", "bias"))
    return norms.instance_norm(call, x, weight, bias, module.eps)


def _group_norm(call: Call, module: nn.GroupNorm, x: Value) -> str:
    weight, bias = (_optional(call, module, name, ("c",)) for name in ("weight", "bias"))
    return norms.group_norm(call, x, module.num_groups, weight, bias, module.eps)


def _layer_norm(call: Call, module: nn.LayerNorm, x: Value) -> str:
    axes = x.axes[x.rank - len(module.normalized_shape) :]
    weight, bias = (_optional(call, module, name, axes) for name in ("weight", "bias"))
    return norms.layer_norm(call, x, module.normalized_shape, weight, bias, module.eps)


def _embedding(call: Call, module: nn.Embedding, ids: Value) -> str:
    weight = _own(call, module, "weight", ("voc", "d"))
    return products.embedding(call, ids, weight, max_norm=module.max_norm)


def _attention(
    call: Call,
    module: nn.MultiheadAttention,
    query: Value,
    key: Value,
    value: Value,
    key_padding_mask: object = None,
    need_weights: bool = True,
    attn_mask: object = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> str:
    if key_padding_mask is not None or attn_mask is not None or is_causal:
        raise UnsupportedError("a mask")
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        raise UnsupportedError("kdim, vdim, add_bias_kv or add_zero_attn")
    if query.rank != 3:
        raise UnsupportedError("a sequence without a batch")
    call.use("linear", "attention")
    size, heads = module.embed_dim, module.num_heads
    weight = call.own("in_proj_weight", ("d_out", "d"))
    bias = None if module.in_proj_bias is None else call.own("in_proj_bias", ("d_out",))
    parts = []
    for index, (name, one) in enumerate((("q", query), ("k", key), ("v", value))):
        axis = "q" if name == "q" else "k"
        axes = ("b", axis, "d") if module.batch_first else (axis, "b", "d")
        rows = f".slice1d(.d_out, .{{ .start = {index * size}, .end = {(index + 1) * size} }})"
        given = (f"{one.name}.withTags({zig_text.tags(axes)})", weight + rows, bias + rows if bias else "null")
        projected = f"linear({', '.join(given)})"
        parts.append(call.let(name, f"{projected}.splitAxis(.d_out, .{{ .h = {heads}, .hd = {size // heads} }})"))
    scale = zig_text.number((size // heads) ** -0.5)
    attended = call.let("attended", f"attention({', '.join(parts)}, {scale})")
    order = ("b", "q", "h", "hd") if module.batch_first else ("q", "b", "h", "hd")
    joined = call.let("joined", f"{attended}.transpose({zig_text.tags(order)})")
    rows = ", ".join(f".{axis} = {joined}.dim(.{axis})" for axis in order[:2])
    out_weight = call.own("out_proj.weight", ("d_out", "d"))
    out_bias = "null" if module.out_proj.bias is None else call.own("out_proj.bias", ("d_out",))
    return f"linear({joined}.reshape(.{{ {rows}, .d = {size} }}), {out_weight}, {out_bias}){call.retagged}"
