//! Dimensions, axis names and element type of a tensor, with the checks ZML's own `Shape` makes.
const std = @import("std");

pub const max_rank = 8;
pub const Tag = [:0]const u8;
pub const untagged: Tag = "_";

/// Elements are kept as f32 whatever the type; it is there because ZML refuses to mix types.
pub const DataType = enum { f32, i32, i64, bool };

pub const Shape = struct {
    _dims: [max_rank]i64 = @splat(1),
    _tags: [max_rank]Tag = @splat(untagged),
    _rank: usize = 0,
    _dtype: DataType = .f32,

    /// From `.{ 2, 3 }` or `.{ .b = 2, .d = 3 }`.
    pub fn init(dimensions: anytype, dt: DataType) Shape {
        var self: Shape = .{ ._dtype = dt };
        const Dimensions = @TypeOf(dimensions);
        inline for (@typeInfo(Dimensions).@"struct".fields) |field| {
            const tag: Tag = if (@typeInfo(Dimensions).@"struct".is_tuple) untagged else field.name;
            self = self.append(@field(dimensions, field.name), tag);
        }
        return self;
    }

    pub fn append(self: Shape, dimension: i64, tag: Tag) Shape {
        if (self._rank == max_rank) std.debug.panic("more than {d} axes", .{max_rank});
        var result = self;
        result._dims[self._rank] = dimension;
        result._tags[self._rank] = tag;
        result._rank += 1;
        return result;
    }

    pub fn rank(self: Shape) usize {
        return self._rank;
    }

    pub fn dtype(self: Shape) DataType {
        return self._dtype;
    }

    pub fn dims(self: *const Shape) []const i64 {
        return self._dims[0..self._rank];
    }

    pub fn tags(self: *const Shape) []const Tag {
        return self._tags[0..self._rank];
    }

    pub fn count(self: Shape) usize {
        var product: usize = 1;
        for (self.dims()) |dimension| product *= @intCast(dimension);
        return product;
    }

    /// Elements between neighbours along each axis, rows last.
    pub fn strides(self: Shape) [max_rank]usize {
        var result: [max_rank]usize = @splat(0);
        var step: usize = 1;
        var index = self._rank;
        while (index > 0) {
            index -= 1;
            result[index] = step;
            step *= @intCast(self._dims[index]);
        }
        return result;
    }

    pub fn hasTag(self: Shape, tag: anytype) ?usize {
        const wanted = nameOf(tag);
        if (std.mem.eql(u8, wanted, untagged)) return null;
        for (self.tags(), 0..) |own, index| if (std.mem.eql(u8, own, wanted)) return index;
        return null;
    }

    /// Index of an axis given by name, or by number, negative from the end.
    pub fn axis(self: Shape, which: anytype) usize {
        switch (@typeInfo(@TypeOf(which))) {
            .int, .comptime_int => {
                const index = if (which < 0) @as(i64, @intCast(self._rank)) + @as(i64, which) else @as(i64, @intCast(which));
                if (index < 0 or index >= self._rank) std.debug.panic("axis {d} of a tensor of rank {d}", .{ which, self._rank });
                return @intCast(index);
            },
            else => return self.hasTag(which) orelse std.debug.panic("{f} has no axis .{s}", .{ self, nameOf(which) }),
        }
    }

    fn nameOf(which: anytype) []const u8 {
        return if (@TypeOf(which) == @EnumLiteral()) @tagName(which) else which;
    }

    pub fn dim(self: Shape, which: anytype) i64 {
        return self._dims[self.axis(which)];
    }

    pub fn setDim(self: Shape, which: anytype, dimension: i64) Shape {
        var result = self;
        result._dims[self.axis(which)] = dimension;
        return result;
    }

    pub fn withTags(self: Shape, names: anytype) Shape {
        if (names.len != self._rank) std.debug.panic("{f} has {d} axes, and is given {d} names", .{ self, self._rank, names.len });
        var result = self;
        inline for (names, 0..) |tag, index| result._tags[index] = @tagName(tag);
        return result;
    }

    pub fn withDtype(self: Shape, dt: DataType) Shape {
        var result = self;
        result._dtype = dt;
        return result;
    }

    /// Equal dimensions and type; names do not count.
    pub fn eql(self: Shape, other: Shape) bool {
        return self._dtype == other._dtype and std.mem.eql(i64, self.dims(), other.dims());
    }

    pub fn sameTags(self: Shape, other: Shape) bool {
        if (self._rank != other._rank) return false;
        for (self.tags(), other.tags()) |own, its| if (!std.mem.eql(u8, own, its)) return false;
        return true;
    }

    /// From `.{ 2, -1 }` or `.{ .b = 2, .d = -1 }`; one dimension may be -1, whatever is left.
    pub fn reshape(self: Shape, dimensions: anytype) Shape {
        var result = Shape.init(dimensions, self._dtype);
        var known: i64 = 1;
        for (result.dims()) |dimension| known *= if (dimension == -1) 1 else dimension;
        for (result._dims[0..result._rank]) |*dimension| {
            if (dimension.* == -1) dimension.* = @divTrunc(@as(i64, @intCast(self.count())), known);
        }
        if (result.count() != self.count()) std.debug.panic("cannot reshape {f} to {f}", .{ self, result });
        return result;
    }

    /// The axis as several: `splitAxis(.d, .{ .h = 4, .hd = 8 })`.
    pub fn splitAxis(self: Shape, which: anytype, parts: anytype) Shape {
        const split = self.axis(which);
        const inner = Shape.init(parts, self._dtype);
        var result: Shape = .{ ._dtype = self._dtype };
        for (self.dims(), self.tags(), 0..) |dimension, tag, index| {
            if (index != split) {
                result = result.append(dimension, tag);
            } else for (inner.dims(), inner.tags()) |part, part_tag| {
                result = result.append(part, part_tag);
            }
        }
        if (result.count() != self.count()) std.debug.panic("cannot split an axis of {f} into {f}", .{ self, inner });
        return result;
    }

    pub fn format(self: Shape, writer: *std.Io.Writer) !void {
        try writer.writeByte('{');
        for (self.dims(), self.tags(), 0..) |dimension, tag, index| {
            if (index > 0) try writer.writeByte(',');
            if (std.mem.eql(u8, tag, untagged)) try writer.print("{d}", .{dimension}) else try writer.print("{s}={d}", .{ tag, dimension });
        }
        try writer.print(",{s}}}", .{@tagName(self._dtype)});
    }
};
