"""Functions that model.zig holds when a layer needs them: what PyTorch has and ZML has not."""

from __future__ import annotations

HELPERS: dict[str, str] = {
    # Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: at most 1.5e-7 from erf
    "erf": """
/// erf(x), to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
fn erf(x: zml.Tensor) zml.Tensor {
    const t = zml.Tensor.scalar(1, x.dtype()).div(x.abs().scale(0.3275911).addConstant(1));
    var polynomial = t.scale(1.061405429);
    inline for (.{ -1.453152027, 1.421413741, -0.284496736, 0.254829592 }) |coefficient| {
        polynomial = polynomial.addConstant(coefficient).mul(t);
    }
    return x.sign().mul(polynomial.mul(x.mul(x).negate().exp()).negate().addConstant(1));
}
""",
    "exactGelu": """
/// x times the normal distribution function: GELU as PyTorch computes it; zml.Tensor.gelu is an approximation.
fn exactGelu(x: zml.Tensor) zml.Tensor {
    return x.mul(erf(x.scale(0.7071067811865476)).addConstant(1)).scale(0.5);
}
""",
    "sumWindows": """
/// The sum over each window of x {b, c, h, w}; padding counts as 0.
fn sumWindows(x: zml.Tensor, window: [2]i64, strides: [2]i64, padding: [2]i64) zml.Tensor {
    return zml.ops.reduceWindow(
        1,
        .{x},
        .{zml.Tensor.scalar(0, x.dtype())},
        .{
            .window_dimensions = &.{ 1, 1, window[0], window[1] },
            .window_strides = &.{ 1, 1, strides[0], strides[1] },
            .base_dilations = &.{ 1, 1, 1, 1 },
            .window_dilations = &.{ 1, 1, 1, 1 },
            .padding = &.{ .{ 0, 0 }, .{ 0, 0 }, .{ padding[0], padding[0] }, .{ padding[1], padding[1] } },
        },
        &struct {
            fn add(values: zml.ops.ReduceArgs) [1]zml.Tensor {
                return .{values.left.add(values.right)};
            }
        }.add,
    )[0].withTags(.{ .b, .c, .h, .w });
}
""",
    "linear": """
/// x {.., d} by weight {d_out, d}, and bias {d_out}: {.., d_out}.
fn linear(x: zml.Tensor, weight: zml.Tensor, bias: ?zml.Tensor) zml.Tensor {
    const y = x.dot(weight, .d);
    return if (bias) |b| y.add(b.broad(y.shape())) else y;
}
""",
    "attention": """
/// Scaled dot-product attention: q {b, h, q, hd}, k and v {b, h, k, hd} in any order -> {b, h, q, hd}.
fn attention(q: zml.Tensor, k: zml.Tensor, v: zml.Tensor, scale: f32) zml.Tensor {
    return q.scale(scale).dot(k, .hd).softmax(.k).dot(v, .k);
}
""",
}
"""in the order they are written"""

NEEDS: dict[str, tuple[str, ...]] = {"exactGelu": ("erf",)}
"""what a helper calls itself"""


def with_needs(*names: str) -> tuple[str, ...]:
    """The helpers, and those they call."""
    return tuple(dict.fromkeys(one for name in names for one in (*NEEDS.get(name, ()), name)))
