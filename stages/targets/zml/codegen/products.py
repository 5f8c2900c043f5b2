"""Products of matrices, attention and what looks rows up."""

from __future__ import annotations

from recast.stages.targets.zml.codegen import zig_text
from recast.stages.targets.zml.codegen.calls import Call, UnsupportedError, Value, floating


def matmul(call: Call, left: Value, right: Value) -> str:
    """torch.matmul of two tensors of one rank, with equal batches."""
    if left.rank != right.rank or left.rank < 2 or left.shape[:-2] != right.shape[:-2]:
        raise UnsupportedError(f"a product of {left.shape} and {right.shape}: the axes before the last two differ")
    batch = ["n1", "n2", "n3"][: left.rank - 2]
    first, second = zig_text.tags([*batch, "m", "k"]), zig_text.tags([*batch, "k", "n"])
    product = f"{floating(left).name}.withTags({first}).dot({floating(right).name}.withTags({second}), .k)"
    return f"{product}{call.retagged}"


def linear(call: Call, x: Value, weight: Value, bias: Value | None = None) -> str:
    """x {.., d} by weight {d_out, d}."""
    call.use("linear")
    rows = f"{weight.name}.withTags(.{{ .d_out, .d }})"
    added = f"{bias.name}.withTags(.{{.d_out}})" if bias else "null"
    return f"linear({last_is_d(x)}, {rows}, {added}){call.retagged}"


def attention(
    call: Call,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: object = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> str:
    """F.scaled_dot_product_attention of {b, h, s, hd}, without a mask."""
    if attn_mask is not None or is_causal or enable_gqa or dropout_p:
        raise UnsupportedError("a mask, dropout or grouped queries in attention")
    if {query.rank, key.rank, value.rank} != {4}:
        raise UnsupportedError("attention over tensors that are not {b, h, s, hd}")
    call.use("attention")
    factor = zig_text.number(query.shape[-1] ** -0.5 if scale is None else scale)
    tagged = [f"{one.name}.withTags(.{{ .b, .h, .{axis}, .hd }})" for one, axis in ((query, "q"), (key, "k"))]
    tagged.append(f"{value.name}.withTags(.{{ .b, .h, .k, .hd }})")
    return f"attention({', '.join(tagged)}, {factor}){call.retagged}"


def embedding(
    call: Call,
    ids: Value,
    weight: Value,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> str:
    """Rows of weight {voc, d}, by integers {b} or {b, s}."""
    if max_norm is not None:
        raise UnsupportedError("max_norm, which changes the weights in inference")
    if ids.floating or ids.rank not in (1, 2):
        raise UnsupportedError("indices that are no integers {b} or {b, s}")
    rows = f"{weight.name}.withTags(.{{ .voc, .d }})"
    return f"{rows}.gather(.{{ .voc = {ids.name}.withTags({zig_text.tags(('b', 's')[: ids.rank])}) }}, .{{}})"


def last_is_d(x: Value) -> str:
    """x with its last axis called .d, which the products with weights sum over."""
    if x.rank < 1:
        raise UnsupportedError("a tensor without axes")
    return f"{floating(x).name}.withTags({zig_text.tags([*x.axes[:-1], 'd'])})"
