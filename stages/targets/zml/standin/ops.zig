//! ZML's `ops.reduceWindow`, for windows over the last two of four axes.
const std = @import("std");
const kernels = @import("kernels.zig");
const Tensor = @import("tensor.zig").Tensor;

pub const ReduceArgs = struct { left: Tensor, right: Tensor };

pub const Windows = struct {
    window_dimensions: []const i64,
    window_strides: []const i64,
    base_dilations: []const i64,
    window_dilations: []const i64,
    padding: []const [2]i64,
};

pub fn ReduceWindowFn(N: comptime_int) type {
    if (N != 1) @compileError("reduceWindow: only of one tensor here");
    return fn (ReduceArgs) [N]Tensor;
}

/// One tensor {b, c, h, w} and its initial value, a scalar; padding counts as the initial value.
///
/// `function` is given whole tensors: what has been reduced so far, and the next element of every window.
pub fn reduceWindow(N: comptime_int, inputs: [N]Tensor, inits: [N]Tensor, windows: Windows, function: *const ReduceWindowFn(N)) [N]Tensor {
    if (N != 1) @compileError("reduceWindow: only of one tensor here");
    const x: Tensor = inputs[0];
    const initial: Tensor = inits[0];
    if (x.rank() != 4 or windows.window_dimensions[0] != 1 or windows.window_dimensions[1] != 1) @panic("reduceWindow: only over the last two of four axes here");
    for (windows.base_dilations) |dilation| if (dilation != 1) @panic("reduceWindow: base dilations are not supported here");
    var shape = x.shape();
    for (2..4) |i| shape._dims[i] = kernels.windows(
        x.shape()._dims[i],
        windows.window_dimensions[i],
        windows.window_strides[i],
        windows.padding[i][0],
        windows.padding[i][1],
        windows.window_dilations[i],
    );
    var result = initial.broad(shape);
    var row: i64 = 0;
    while (row < windows.window_dimensions[2]) : (row += 1) {
        var column: i64 = 0;
        while (column < windows.window_dimensions[3]) : (column += 1) {
            const next = Tensor.uninitialised(shape);
            kernels.pick(next.data, shape._dims[0..4].*, x.data, x.shape()._dims[0..4].*, initial.data[0], .{
                row * windows.window_dilations[2] - windows.padding[2][0],
                column * windows.window_dilations[3] - windows.padding[3][0],
            }, windows.window_strides[2..4].*);
            result = function(.{ .left = result, .right = next })[0];
        }
    }
    return .{result};
}
