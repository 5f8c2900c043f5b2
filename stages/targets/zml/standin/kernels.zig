//! The loops: on slices of f32, rows last.
const std = @import("std");

pub fn add(a: f32, b: f32) f32 {
    return a + b;
}

pub fn sub(a: f32, b: f32) f32 {
    return a - b;
}

pub fn mul(a: f32, b: f32) f32 {
    return a * b;
}

pub fn div(a: f32, b: f32) f32 {
    return a / b;
}

/// NaN if either is, as in XLA and PyTorch; `@max` would drop it.
pub fn maximum(a: f32, b: f32) f32 {
    return if (a != a) a else if (b != b) b else @max(a, b);
}

pub fn minimum(a: f32, b: f32) f32 {
    return if (a != a) a else if (b != b) b else @min(a, b);
}

pub fn same(x: f32) f32 {
    return x;
}

pub fn truncate(x: f32) f32 {
    return @trunc(x);
}

pub fn negate(x: f32) f32 {
    return -x;
}

pub fn abs(x: f32) f32 {
    return @abs(x);
}

pub fn sign(x: f32) f32 {
    return if (x > 0) 1 else if (x < 0) -1 else x;
}

pub fn exp(x: f32) f32 {
    return @exp(x);
}

pub fn log(x: f32) f32 {
    return @log(x);
}

pub fn sqrt(x: f32) f32 {
    return @sqrt(x);
}

pub fn rsqrt(x: f32) f32 {
    return 1 / @sqrt(x);
}

pub fn tanh(x: f32) f32 {
    return std.math.tanh(x);
}

pub fn sigmoid(x: f32) f32 {
    return 1 / (1 + @exp(-x));
}

/// In f64, so that the order of the sum does not show.
pub fn sum(values: []const f32, stride: usize, length: usize) f32 {
    var total: f64 = 0;
    for (0..length) |index| total += values[index * stride];
    return @floatCast(total);
}

pub fn max(values: []const f32, stride: usize, length: usize) f32 {
    var largest = values[0];
    for (1..length) |index| largest = maximum(largest, values[index * stride]);
    return largest;
}

/// `to`, of the dimensions `dims`, takes from `from` the elements that lie `steps` apart.
pub fn copyStrided(to: []f32, from: []const f32, dims: []const i64, steps: []const usize, offset: usize) void {
    if (to.len == 0) return;
    if (dims.len == 0) {
        to[0] = from[offset];
        return;
    }
    if (dims.len == 1) {
        for (to, 0..) |*out, index| out.* = from[offset + index * steps[0]];
        return;
    }
    const part = to.len / @as(usize, @intCast(dims[0]));
    for (0..@intCast(dims[0])) |index| {
        copyStrided(to[index * part ..][0..part], from, dims[1..], steps[1..], offset + index * steps[0]);
    }
}

const lanes = 8;
const Lanes = @Vector(lanes, f32);

fn inner(a: []const f32, b: []const f32) f32 {
    var sums: [2]Lanes = @splat(@splat(0));
    var index: usize = 0;
    while (index + 2 * lanes <= a.len) : (index += 2 * lanes) {
        inline for (0..2) |part| {
            const at = index + part * lanes;
            sums[part] += @as(Lanes, a[at..][0..lanes].*) * @as(Lanes, b[at..][0..lanes].*);
        }
    }
    var total = @reduce(.Add, sums[0] + sums[1]);
    for (a[index..], b[index..]) |x, y| total += x * y;
    return total;
}

/// out[n, i, j] = the product of rows left[n, i] and right[n, j], both of `length`.
pub fn products(out: []f32, left: []const f32, right: []const f32, rows: usize, columns: usize, length: usize) void {
    if (out.len == 0) return;
    for (0..out.len / (rows * columns)) |batch| {
        for (0..rows) |row| {
            const a = left[(batch * rows + row) * length ..][0..length];
            for (out[(batch * rows + row) * columns ..][0..columns], 0..) |*value, column| {
                value.* = inner(a, right[(batch * columns + column) * length ..][0..length]);
            }
        }
    }
}

/// How often a window of `size` fits.
pub fn windows(length: i64, size: i64, stride: i64, low: i64, high: i64, dilation: i64) i64 {
    const spare = length + low + high - ((size - 1) * dilation + 1);
    return if (spare < 0) 0 else @divTrunc(spare, stride) + 1;
}

/// Of `count` positions `index * stride + offset`, the first that lies in 0..length, and the first after it that does not.
fn inside(offset: i64, stride: i64, length: i64, count: i64) struct { usize, usize } {
    const first = if (offset >= 0) 0 else @divTrunc(-offset + stride - 1, stride);
    const end = if (offset >= length) 0 else @divTrunc(length - 1 - offset, stride) + 1;
    const last = std.math.clamp(end, 0, count);
    return .{ @intCast(@min(first, last)), @intCast(last) };
}

pub const Convolution = struct { strides: [2]i64, low: [2]i64, dilations: [2]i64, groups: usize };

/// out {b, o, oh, ow} of x {b, c, h, w} by kernel {o, c / groups, kh, kw}.
pub fn convolve(out: []f32, out_dims: [4]i64, x: []const f32, x_dims: [4]i64, kernel: []const f32, kernel_dims: [4]i64, how: Convolution) void {
    const out_plane: usize = @intCast(out_dims[2] * out_dims[3]);
    const x_plane: usize = @intCast(x_dims[2] * x_dims[3]);
    const kernel_plane: usize = @intCast(kernel_dims[2] * kernel_dims[3]);
    const channels: usize = @intCast(kernel_dims[1]);
    const outputs: usize = @intCast(kernel_dims[0]);
    @memset(out, 0);
    for (0..@intCast(out_dims[0])) |sample| {
        for (0..outputs) |output| {
            const to = out[(sample * outputs + output) * out_plane ..][0..out_plane];
            const group = output / (outputs / how.groups);
            for (0..channels) |channel| {
                const source = (sample * how.groups + group) * channels + channel;
                convolvePlane(
                    to,
                    out_dims[2..4].*,
                    x[source * x_plane ..][0..x_plane],
                    x_dims[2..4].*,
                    kernel[(output * channels + channel) * kernel_plane ..][0..kernel_plane],
                    kernel_dims[2..4].*,
                    how,
                );
            }
        }
    }
}

fn convolvePlane(to: []f32, to_dims: [2]i64, x: []const f32, x_dims: [2]i64, kernel: []const f32, kernel_dims: [2]i64, how: Convolution) void {
    const width: usize = @intCast(to_dims[1]);
    const stride: usize = @intCast(how.strides[1]);
    for (kernel, 0..) |weight, index| {
        const row = @divTrunc(@as(i64, @intCast(index)), kernel_dims[1]);
        const column = @rem(@as(i64, @intCast(index)), kernel_dims[1]);
        const down = row * how.dilations[0] - how.low[0];
        const across = column * how.dilations[1] - how.low[1];
        const top, const bottom = inside(down, how.strides[0], x_dims[0], to_dims[0]);
        const left, const right = inside(across, how.strides[1], x_dims[1], to_dims[1]);
        if (left == right) continue;
        for (top..bottom) |y| {
            const out = to[y * width + left .. y * width + right];
            const source: usize = @intCast((@as(i64, @intCast(y)) * how.strides[0] + down) * x_dims[1] + @as(i64, @intCast(left * stride)) + across);
            if (stride == 1) {
                for (out, x[source..][0..out.len]) |*value, other| value.* += weight * other;
            } else {
                for (out, 0..) |*value, step| value.* += weight * x[source + step * stride];
            }
        }
    }
}

/// out {b, c, oh, ow}: x at (row * stride + offset), or `padding` outside x.
pub fn pick(out: []f32, out_dims: [4]i64, x: []const f32, x_dims: [4]i64, padding: f32, offset: [2]i64, strides: [2]i64) void {
    const width: usize = @intCast(out_dims[3]);
    const height: usize = @intCast(out_dims[2]);
    const plane: usize = @intCast(x_dims[2] * x_dims[3]);
    const top, const bottom = inside(offset[0], strides[0], x_dims[2], out_dims[2]);
    const left, const right = inside(offset[1], strides[1], x_dims[3], out_dims[3]);
    const stride: usize = @intCast(strides[1]);
    @memset(out, padding);
    if (left == right) return;
    for (0..@intCast(x_dims[0] * x_dims[1])) |index| {
        for (top..bottom) |y| {
            const line: usize = @intCast((@as(i64, @intCast(y)) * strides[0] + offset[0]) * x_dims[3] + @as(i64, @intCast(left * stride)) + offset[1]);
            const to = out[(index * height + y) * width + left .. (index * height + y) * width + right];
            for (to, 0..) |*value, step| value.* = x[index * plane + line + step * stride];
        }
    }
}
