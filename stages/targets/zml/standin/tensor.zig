//! The calls of ZML's `Tensor` that generated models make, computed at once, in f32, on the CPU.
//!
//! ZML's own rules about shapes, axis names and types hold here too, so that a model that breaks one of
//! them stops with a message. Memory comes from `arena`, and is freed by whoever set it.
const std = @import("std");
const kernels = @import("kernels.zig");
const ops = @import("ops.zig");
const DataType = @import("shape.zig").DataType;
const Shape = @import("shape.zig").Shape;

const max_rank = @import("shape.zig").max_rank;

pub var arena: std.mem.Allocator = undefined;

/// What comes back to the host.
pub const HostCopy = struct {
    shape: Shape,
    data: []f32,

    pub fn items(self: HostCopy, comptime T: type) []T {
        return self.data;
    }

    pub fn free(_: HostCopy, _: std.mem.Allocator) void {}
};

pub const Tensor = struct {
    data: []f32,
    _shape: Shape,

    /// A tensor whose elements are still to be written.
    pub fn uninitialised(shape_: Shape) Tensor {
        return .{ .data = arena.alloc(f32, shape_.count()) catch @panic("out of memory"), ._shape = shape_ };
    }

    pub fn shape(self: Tensor) Shape {
        return self._shape;
    }

    pub fn dtype(self: Tensor) DataType {
        return self._shape.dtype();
    }

    pub fn toSliceAlloc(self: Tensor, _: std.mem.Allocator, _: std.Io) !HostCopy {
        return .{ .shape = self._shape, .data = self.data };
    }

    pub fn rank(self: Tensor) usize {
        return self._shape.rank();
    }

    pub fn dim(self: Tensor, axis_: anytype) i64 {
        return self._shape.dim(axis_);
    }

    pub fn axis(self: Tensor, axis_: anytype) usize {
        return self._shape.axis(axis_);
    }

    pub fn withTags(self: Tensor, tags: anytype) Tensor {
        return .{ .data = self.data, ._shape = self._shape.withTags(tags) };
    }

    pub fn scalar(value: anytype, dt: DataType) Tensor {
        const result = uninitialised(.{ ._dtype = dt });
        result.data[0] = switch (@typeInfo(@TypeOf(value))) {
            .int, .comptime_int => @floatFromInt(value),
            else => @floatCast(value),
        };
        return result;
    }

    // -- element by element

    fn map(self: Tensor, comptime function: fn (f32) f32) Tensor {
        const result = uninitialised(self._shape);
        for (result.data, self.data) |*out, value| out.* = function(value);
        return result;
    }

    /// Shapes must be equal, one side a scalar, or names equal and the right side 1 where it differs.
    fn combine(comptime name: []const u8, comptime function: fn (f32, f32) f32, left: Tensor, right: Tensor) Tensor {
        if (left.dtype() != right.dtype()) std.debug.panic("{s} of {f} and {f}: the types differ", .{ name, left._shape, right._shape });
        if (left.rank() == 0 and right.rank() != 0) return combine(name, function, left.broad(right._shape), right);
        var other = right;
        if (left.rank() != 0 and right.rank() == 0) other = right.broad(left._shape);
        if (!left._shape.eql(other._shape) and left._shape.sameTags(other._shape)) other = other.broad(left._shape);
        if (!left._shape.eql(other._shape)) std.debug.panic("{s} of {f} and {f}: the shapes differ", .{ name, left._shape, right._shape });
        const result = uninitialised(left._shape);
        for (result.data, left.data, other.data) |*out, a, b| out.* = function(a, b);
        return result;
    }

    pub fn add(self: Tensor, other: Tensor) Tensor {
        return combine("add", kernels.add, self, other);
    }

    pub fn sub(self: Tensor, other: Tensor) Tensor {
        return combine("sub", kernels.sub, self, other);
    }

    pub fn mul(self: Tensor, other: Tensor) Tensor {
        return combine("mul", kernels.mul, self, other);
    }

    pub fn div(self: Tensor, other: Tensor) Tensor {
        return combine("div", kernels.div, self, other);
    }

    pub fn maximum(self: Tensor, other: Tensor) Tensor {
        return combine("maximum", kernels.maximum, self, other);
    }

    pub fn minimum(self: Tensor, other: Tensor) Tensor {
        return combine("minimum", kernels.minimum, self, other);
    }

    pub fn addConstant(self: Tensor, value: anytype) Tensor {
        return self.add(.scalar(value, self.dtype()));
    }

    pub fn scale(self: Tensor, value: anytype) Tensor {
        return self.mul(.scalar(value, self.dtype()));
    }

    pub fn divByConst(self: Tensor, value: anytype) Tensor {
        return self.div(.scalar(value, self.dtype()));
    }

    pub fn relu(self: Tensor) Tensor {
        return self.maximum(.scalar(0, self.dtype()));
    }

    pub fn negate(self: Tensor) Tensor {
        return self.map(kernels.negate);
    }

    pub fn abs(self: Tensor) Tensor {
        return self.map(kernels.abs);
    }

    pub fn sign(self: Tensor) Tensor {
        return self.map(kernels.sign);
    }

    pub fn exp(self: Tensor) Tensor {
        return self.map(kernels.exp);
    }

    pub fn log(self: Tensor) Tensor {
        return self.map(kernels.log);
    }

    pub fn sqrt(self: Tensor) Tensor {
        return self.map(kernels.sqrt);
    }

    pub fn rsqrt(self: Tensor) Tensor {
        return self.map(kernels.rsqrt);
    }

    pub fn tanh(self: Tensor) Tensor {
        return self.map(kernels.tanh);
    }

    pub fn sigmoid(self: Tensor) Tensor {
        return self.map(kernels.sigmoid);
    }

    pub fn silu(self: Tensor) Tensor {
        return self.mul(self.sigmoid());
    }

    /// The approximation by tanh, as in ZML.
    pub fn gelu(self: Tensor) Tensor {
        const inner = self.add(self.mul(self).mul(self).scale(0.044715)).scale(@sqrt(2.0 / std.math.pi));
        return inner.tanh().addConstant(1).mul(self).scale(0.5);
    }

    /// To an integer type rounds towards zero.
    pub fn convert(self: Tensor, to: DataType) Tensor {
        var result = if (to == .f32) self.map(kernels.same) else self.map(kernels.truncate);
        result._shape = self._shape.withDtype(to);
        return result;
    }

    // -- along an axis, whose dimension becomes 1

    pub fn sum(self: Tensor, axis_: anytype) Tensor {
        return self.reduced(axis_, kernels.sum);
    }

    pub fn max(self: Tensor, axis_: anytype) Tensor {
        return self.reduced(axis_, kernels.max);
    }

    pub fn mean(self: Tensor, axis_: anytype) Tensor {
        return self.sum(axis_).divByConst(self.dim(axis_));
    }

    fn reduced(self: Tensor, axis_: anytype, comptime function: fn ([]const f32, usize, usize) f32) Tensor {
        const along = self.axis(axis_);
        const result = uninitialised(self._shape.setDim(along, 1));
        const stride = self._shape.strides()[along];
        const length: usize = @intCast(self.dim(along));
        for (result.data, 0..) |*out, index| {
            const start = index / stride * stride * length + index % stride;
            out.* = function(self.data[start..], stride, length);
        }
        return result;
    }

    pub fn softmax(self: Tensor, axis_: anytype) Tensor {
        const powers = self.sub(self.max(axis_).broad(self._shape)).exp();
        return powers.div(powers.sum(axis_).broad(self._shape));
    }

    pub fn logSumExp(self: Tensor, axis_: anytype) Tensor {
        const largest = self.max(axis_);
        return largest.add(self.sub(largest.broad(self._shape)).exp().sum(axis_).log());
    }

    // -- the same elements in another shape or order

    /// `output` is a `Shape`, `.{ 2, -1 }` or `.{ .b = 2, .d = -1 }`.
    pub fn reshape(self: Tensor, output: anytype) Tensor {
        if (@TypeOf(output) == Shape) {
            if (output.count() != self._shape.count()) std.debug.panic("cannot reshape {f} to {f}", .{ self._shape, output });
            return .{ .data = self.data, ._shape = output.withDtype(self.dtype()) };
        }
        return .{ .data = self.data, ._shape = self._shape.reshape(output) };
    }

    pub fn splitAxis(self: Tensor, axis_: anytype, parts: anytype) Tensor {
        return .{ .data = self.data, ._shape = self._shape.splitAxis(axis_, parts) };
    }

    pub fn transpose(self: Tensor, axes: anytype) Tensor {
        if (axes.len != self.rank()) std.debug.panic("transpose of {f} by {d} axes", .{ self._shape, axes.len });
        var order: [max_rank]usize = undefined;
        inline for (axes, 0..) |one, index| order[index] = self.axis(one);
        return self.permuted(order[0..axes.len]);
    }

    /// The axes in this order.
    pub fn permuted(self: Tensor, order: []const usize) Tensor {
        const from = self._shape.strides();
        var result: Shape = .{ ._dtype = self.dtype() };
        var steps: [max_rank]usize = @splat(0);
        var seen: [max_rank]bool = @splat(false);
        var identity = true;
        for (order, 0..) |one, index| {
            if (seen[one]) std.debug.panic("transpose of {f} names an axis twice", .{self._shape});
            seen[one] = true;
            identity = identity and one == index;
            result = result.append(self._shape._dims[one], self._shape._tags[one]);
            steps[index] = from[one];
        }
        return if (identity) self else self.strided(result, steps, 0);
    }

    /// A copy of the elements that lie `steps` apart along the axes of `result`.
    fn strided(self: Tensor, result: Shape, steps: [max_rank]usize, offset: usize) Tensor {
        const copy = uninitialised(result);
        kernels.copyStrided(copy.data, self.data, result.dims(), steps[0..result.rank()], offset);
        return copy;
    }

    /// Repeated to the shape `other`: axes are matched by number if the ranks agree, else by name.
    pub fn broad(self: Tensor, other: Shape) Tensor {
        if (std.mem.eql(i64, self._shape.dims(), other.dims())) return self;
        const from = self._shape.strides();
        var steps: [max_rank]usize = @splat(0);
        for (self._shape.dims(), self._shape.tags(), 0..) |dimension, tag, index| {
            const target = if (self.rank() == other.rank()) index else other.hasTag(tag) orelse
                std.debug.panic("cannot broadcast {f} to {f}", .{ self._shape, other });
            if (dimension != 1 and dimension != other._dims[target]) std.debug.panic("cannot broadcast {f} to {f}", .{ self._shape, other });
            if (dimension != 1) steps[target] = from[index];
        }
        return self.strided(other.withDtype(self.dtype()), steps, 0);
    }

    pub const Slice = struct {
        start: i64 = 0,
        end: i64 = std.math.maxInt(i64),
        step: i32 = 1,
    };

    pub fn slice1d(self: Tensor, axis_: anytype, slice: Slice) Tensor {
        const along = self.axis(axis_);
        const length = self._shape._dims[along];
        const start = if (slice.start < 0) length + slice.start else slice.start;
        const end = if (slice.end == std.math.maxInt(i64)) length else if (slice.end < 0) length + slice.end else slice.end;
        if (start < 0 or start >= end or end > length or slice.step < 1) std.debug.panic("slice {d}..{d} of {f}", .{ start, end, self._shape });
        var steps = self._shape.strides();
        const offset = steps[along] * @as(usize, @intCast(start));
        steps[along] *= @intCast(slice.step);
        return self.strided(self._shape.setDim(along, @divTrunc(end - start + slice.step - 1, slice.step)), steps, offset);
    }

    pub const Pad = struct {
        low: i64 = 0,
        high: i64 = 0,
    };

    /// More elements of one value before and behind: `x.pad(0, .{ .h = Tensor.Pad{ .low = 1, .high = 1 } })`.
    pub fn pad(self: Tensor, padding_value: anytype, paddings: anytype) Tensor {
        var result = self;
        inline for (@typeInfo(@TypeOf(paddings)).@"struct".fields) |one| {
            const sides: Pad = @field(paddings, one.name);
            const along = self.axis(one.name);
            result = result.padded(padding_value, along, sides.low, sides.high);
        }
        return result;
    }

    fn padded(self: Tensor, value: anytype, along: usize, low: i64, high: i64) Tensor {
        const length = self._shape._dims[along];
        const result = uninitialised(self._shape.setDim(along, low + length + high));
        @memset(result.data, value);
        const inner = self._shape.strides()[along];
        const row = inner * @as(usize, @intCast(length));
        if (row == 0) return result;
        const wide = inner * @as(usize, @intCast(low + length + high));
        const offset = inner * @as(usize, @intCast(low));
        for (0..self.data.len / row) |index| @memcpy(result.data[index * wide + offset ..][0..row], self.data[index * row ..][0..row]);
        return result;
    }

    /// One element along the axis, which is dropped.
    pub fn choose1d(self: Tensor, axis_: anytype, index: i64) Tensor {
        const along = self.axis(axis_);
        const at = if (index < 0) self._shape._dims[along] + index else index;
        const chosen = self.slice1d(along, .{ .start = at, .end = at + 1 });
        var kept: Shape = .{ ._dtype = self.dtype() };
        for (chosen._shape.dims(), chosen._shape.tags(), 0..) |dimension, tag, one| {
            if (one != along) kept = kept.append(dimension, tag);
        }
        return chosen.reshape(kept);
    }

    pub fn concatenate(tensors: []const Tensor, axis_: anytype) Tensor {
        const along = tensors[0].axis(axis_);
        var total: i64 = 0;
        for (tensors) |one| {
            if (!one._shape.setDim(along, 1).eql(tensors[0]._shape.setDim(along, 1))) {
                std.debug.panic("cannot concatenate {f} and {f}", .{ tensors[0]._shape, one._shape });
            }
            total += one._shape._dims[along];
        }
        const result = uninitialised(tensors[0]._shape.setDim(along, total));
        const inner = result._shape.strides()[along];
        const row = inner * @as(usize, @intCast(total));
        var offset: usize = 0;
        for (tensors) |one| {
            const part = inner * @as(usize, @intCast(one._shape._dims[along]));
            if (part == 0) continue;
            for (0..one.data.len / part) |index| @memcpy(result.data[index * row + offset ..][0..part], one.data[index * part ..][0..part]);
            offset += part;
        }
        return result;
    }

    /// Rows of the first axis, which `indices` names: `weight.gather(.{ .voc = ids }, .{})`.
    pub fn gather(self: Tensor, indices: anytype, _: struct {}) Tensor {
        const fields = @typeInfo(@TypeOf(indices)).@"struct".fields;
        comptime std.debug.assert(fields.len == 1);
        const ids: Tensor = @field(indices, fields[0].name);
        if (ids.dtype() == .f32) std.debug.panic("gather by {f}: indices are integers", .{ids._shape});
        if (self.axis(@as([:0]const u8, fields[0].name)) != 0) std.debug.panic("gather from {f}: only along the first axis here", .{self._shape});
        var shape_ = ids._shape.withDtype(self.dtype());
        for (self._shape.dims()[1..], self._shape.tags()[1..]) |dimension, tag| {
            if (ids._shape.hasTag(tag) != null) std.debug.panic("gather from {f} by {f}: both have an axis .{s}", .{ self._shape, ids._shape, tag });
            shape_ = shape_.append(dimension, tag);
        }
        const result = uninitialised(shape_);
        const row = self._shape.strides()[0];
        for (ids.data, 0..) |id, index| {
            if (id < 0 or id >= @as(f32, @floatFromInt(self._shape._dims[0]))) std.debug.panic("index {d} into {f}", .{ id, self._shape });
            @memcpy(result.data[index * row ..][0..row], self.data[@as(usize, @intFromFloat(id)) * row ..][0..row]);
        }
        return result;
    }

    // -- products and windows

    /// Sums over the axis both call `tag`. Other shared names are batches and come first in the result, then
    /// the rest of the left side, then the rest of the right.
    pub fn dot(left: Tensor, right: Tensor, tag: anytype) Tensor {
        if (left.dtype() != right.dtype()) std.debug.panic("dot of {f} and {f}: the types differ", .{ left._shape, right._shape });
        var result: Shape = .{ ._dtype = left.dtype() };
        var left_order: [max_rank]usize = undefined;
        var right_order: [max_rank]usize = undefined;
        var batches: usize = 0;
        const left_sum = left.axis(tag);
        const right_sum = right.axis(tag);
        for (left._shape.tags(), 0..) |name, index| {
            if (index == left_sum) continue;
            const partner = right._shape.hasTag(name) orelse continue;
            left_order[batches] = index;
            right_order[batches] = partner;
            batches += 1;
            if (left._shape._dims[index] != right._shape._dims[partner]) std.debug.panic("dot of {f} and {f}: .{s} differs", .{ left._shape, right._shape, name });
            result = result.append(left._shape._dims[index], name);
        }
        const rows = rest(left, left_sum, batches, &left_order, &result);
        const columns = rest(right, right_sum, batches, &right_order, &result);
        if (left.dim(tag) != right.dim(tag)) std.debug.panic("dot of {f} and {f}: the summed axes differ", .{ left._shape, right._shape });
        const product = uninitialised(result);
        kernels.products(
            product.data,
            left.permuted(left_order[0..left.rank()]).data,
            right.permuted(right_order[0..right.rank()]).data,
            rows,
            columns,
            @intCast(left.dim(tag)),
        );
        return product;
    }

    /// Completes `order` with the axes that are no batch, the summed one last; the product of their dimensions.
    fn rest(self: Tensor, summed: usize, batches: usize, order: *[max_rank]usize, result: *Shape) usize {
        var filled = batches;
        var product: usize = 1;
        for (self._shape.dims(), self._shape.tags(), 0..) |dimension, tag, index| {
            if (index == summed or std.mem.indexOfScalar(usize, order[0..batches], index) != null) continue;
            order[filled] = index;
            filled += 1;
            product *= @intCast(dimension);
            result.* = result.append(dimension, tag);
        }
        order[filled] = summed;
        return product;
    }

    /// x {b, c, h, w}, kernel {o, c / groups, kh, kw}; padding is top, bottom, left, right.
    pub fn conv2d(given: Tensor, weight: Tensor, opts: struct {
        window_strides: []const i64 = &.{ 1, 1 },
        padding: []const i64 = &.{ 0, 0, 0, 0 },
        lhs_dilation: []const i64 = &.{ 1, 1 },
        rhs_dilation: []const i64 = &.{ 1, 1 },
        window_reversal: []const bool = &.{ false, false },
        kernel_input_feature_dimension: i64 = 1,
        kernel_output_feature_dimension: i64 = 0,
        feature_group_count: i64 = 1,
    }) Tensor {
        if (given.rank() != 4 or weight.rank() != 4) std.debug.panic("conv2d of {f} by {f}", .{ given._shape, weight._shape });
        const swapped = opts.kernel_input_feature_dimension == 0;
        if (swapped == (opts.kernel_output_feature_dimension == 0)) std.debug.panic("conv2d: one axis of {f} for both features", .{weight._shape});
        var kernel = if (swapped) weight.permuted(&.{ 1, 0, 2, 3 }) else weight;
        for (0..2) |i| if (opts.window_reversal[i]) {
            kernel = kernel.reversed(2 + i);
        };
        const input = given.spread(opts.lhs_dilation);
        const x = input._shape._dims;
        const k = kernel._shape._dims;
        const groups = opts.feature_group_count;
        if (@rem(x[1], groups) != 0 or @rem(k[0], groups) != 0 or k[1] != @divTrunc(x[1], groups)) {
            std.debug.panic("conv2d of {f} by {f} in {d} groups", .{ input._shape, kernel._shape, groups });
        }
        var shape_ = input._shape;
        shape_._dims[1] = k[0];
        for (0..2) |i| shape_._dims[2 + i] = kernels.windows(x[2 + i], k[2 + i], opts.window_strides[i], opts.padding[2 * i], opts.padding[2 * i + 1], opts.rhs_dilation[i]);
        const result = uninitialised(shape_);
        kernels.convolve(result.data, shape_._dims[0..4].*, input.data, x[0..4].*, kernel.data, k[0..4].*, .{
            .strides = opts.window_strides[0..2].*,
            .low = .{ opts.padding[0], opts.padding[2] },
            .dilations = opts.rhs_dilation[0..2].*,
            .groups = @intCast(groups),
        });
        return result;
    }

    /// The same values along one axis, the last first.
    fn reversed(self: Tensor, axis_: usize) Tensor {
        const result = uninitialised(self._shape);
        const steps = self._shape.strides();
        const length: usize = @intCast(self._shape._dims[axis_]);
        for (result.data, 0..) |*value, index| {
            const at = (index / steps[axis_]) % length;
            value.* = self.data[index - at * steps[axis_] + (length - 1 - at) * steps[axis_]];
        }
        return result;
    }

    /// Zeros between the rows and columns of maps, as a dilation of the left-hand side puts there.
    fn spread(self: Tensor, by: []const i64) Tensor {
        if (by[0] == 1 and by[1] == 1) return self;
        var shape_ = self._shape;
        for (0..2) |i| shape_._dims[2 + i] = @max(0, (self._shape._dims[2 + i] - 1) * by[i] + 1);
        const result = uninitialised(shape_);
        @memset(result.data, 0);
        const height: usize = @intCast(self._shape._dims[2]);
        const width: usize = @intCast(self._shape._dims[3]);
        const to_height: usize = @intCast(shape_._dims[2]);
        const to_width: usize = @intCast(shape_._dims[3]);
        for (self.data, 0..) |value, index| {
            const column = index % width;
            const row = (index / width) % height;
            const plane = index / (width * height);
            result.data[(plane * to_height + row * @as(usize, @intCast(by[0]))) * to_width + column * @as(usize, @intCast(by[1]))] = value;
        }
        return result;
    }

    pub const MaxPoolRes = struct { values: Tensor };

    /// Over the last two axes.
    pub fn maxPool2d(self: Tensor, opts: struct {
        window_dimensions: [2]i64,
        window_strides: ?[2]i64 = null,
        window_dilations: [2]i64 = .{ 1, 1 },
        padding: [2][2]i64 = .{ .{ 0, 0 }, .{ 0, 0 } },
    }) MaxPoolRes {
        const window = opts.window_dimensions;
        const strides = opts.window_strides orelse window;
        return .{ .values = ops.reduceWindow(1, .{self}, .{Tensor.scalar(-std.math.inf(f32), self.dtype())}, .{
            .window_dimensions = &.{ 1, 1, window[0], window[1] },
            .window_strides = &.{ 1, 1, strides[0], strides[1] },
            .base_dilations = &.{ 1, 1, 1, 1 },
            .window_dilations = &.{ 1, 1, opts.window_dilations[0], opts.window_dilations[1] },
            .padding = &.{ .{ 0, 0 }, .{ 0, 0 }, opts.padding[0], opts.padding[1] },
        }, &struct {
            fn larger(values: ops.ReduceArgs) [1]Tensor {
                return .{values.left.maximum(values.right)};
            }
        }.larger)[0] };
    }
};
