//! What the layers of a model give while it runs, for the copy of model.zig that hands every result over here.
//!
//! A result may be replaced: whoever reads it then reads the replacement, so that each layer is seen alone, given
//! inputs that are not those of the layers before it. ZML has nothing of the kind.
const std = @import("std");
const checkpoint = @import("checkpoint.zig");
const Tensor = @import("tensor.zig").Tensor;
const arena = &@import("tensor.zig").arena;

var replacements: ?*const checkpoint.TensorRegistry = null;
var calls: std.StringHashMapUnmanaged(usize) = .empty;
var results: std.StringArrayHashMapUnmanaged(Tensor) = .empty;

/// From now on a result goes by what `registry` has under its name, if it has it.
pub fn replaceBy(registry: *const checkpoint.TensorRegistry) void {
    replacements = registry;
}

/// What the layer gives, or what replaces it.
pub fn layer(comptime path: []const u8, made: Tensor) Tensor {
    return record(path, made);
}

/// A value within a layer's code, if it is a tensor, or what replaces it.
pub fn local(comptime path: []const u8, comptime name: []const u8, made: anytype) @TypeOf(made) {
    return if (@TypeOf(made) == Tensor) record(path ++ "/" ++ name, made) else made;
}

/// The second call of one layer is `name#1`.
fn record(comptime path: []const u8, made: Tensor) Tensor {
    const counted = calls.getOrPutValue(arena.*, path, 0) catch @panic("out of memory");
    const call = counted.value_ptr.*;
    counted.value_ptr.* += 1;
    const name = if (call == 0) path else std.fmt.allocPrint(arena.*, "{s}#{d}", .{ path, call }) catch @panic("out of memory");
    results.put(arena.*, name, made) catch @panic("out of memory");
    const registry = replacements orelse return made;
    var other = registry.tensors.get(name) orelse return made;
    if (other.rank() == made.rank()) other._shape._tags = made._shape._tags;
    return other;
}

/// Every float result of `samples` samples, as a safetensors file, in the order they were made.
pub fn write(io: std.Io, path: []const u8, samples: i64) !void {
    var header: std.Io.Writer.Allocating = .init(arena.*);
    var content: std.ArrayListUnmanaged(u8) = .empty;
    try header.writer.writeAll("{");
    var entries = results.iterator();
    while (entries.next()) |entry| {
        const tensor = entry.value_ptr.*;
        if (tensor.dtype() != .f32 or tensor.rank() < 2 or tensor.dim(0) != samples) continue;
        const start = content.items.len;
        try content.appendSlice(arena.*, std.mem.sliceAsBytes(tensor.data));
        if (start > 0) try header.writer.writeAll(",");
        try header.writer.print("{f}:{f}", .{
            std.json.fmt(entry.key_ptr.*, .{}),
            std.json.fmt(.{ .dtype = "F32", .shape = tensor.shape().dims(), .data_offsets = .{ start, content.items.len } }, .{}),
        });
    }
    try header.writer.writeAll("}");
    var length: [8]u8 = undefined;
    std.mem.writeInt(u64, &length, header.written().len, .little);
    const whole = try std.mem.concat(arena.*, u8, &.{ &length, header.written(), content.items });
    try std.Io.Dir.cwd().writeFile(io, .{ .sub_path = path, .data = whole });
}
