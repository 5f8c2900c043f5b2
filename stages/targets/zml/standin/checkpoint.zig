//! Reading safetensors, by the names ZML gives it.
const std = @import("std");
const DataType = @import("shape.zig").DataType;
const Shape = @import("shape.zig").Shape;
const Tensor = @import("tensor.zig").Tensor;
const arena = &@import("tensor.zig").arena;

pub const TensorRegistry = struct {
    tensors: std.StringArrayHashMapUnmanaged(Tensor) = .empty,

    pub fn fromPath(allocator: std.mem.Allocator, io: std.Io, path: []const u8) !TensorRegistry {
        var registry: TensorRegistry = .{};
        const content = try std.Io.Dir.cwd().readFileAlloc(io, path, allocator, .unlimited);
        if (content.len < 8) return error.InvalidSafetensors;
        const header = std.mem.readInt(u64, content[0..8], .little);
        if (header > content.len - 8) return error.InvalidSafetensors;
        const described = try std.json.parseFromSliceLeaky(std.json.Value, allocator, content[8..][0..header], .{});
        var entries = described.object.iterator();
        while (entries.next()) |entry| {
            if (std.mem.eql(u8, entry.key_ptr.*, "__metadata__")) continue;
            const object = entry.value_ptr.object;
            const offsets = object.get("data_offsets").?.array.items;
            const bytes = content[8 + header ..][@intCast(offsets[0].integer)..@intCast(offsets[1].integer)];
            // a type no layer of ours reads is no fault of the file
            const tensor = try read(allocator, object.get("dtype").?.string, object.get("shape").?.array.items, bytes) orelse continue;
            try registry.tensors.put(allocator, entry.key_ptr.*, tensor);
        }
        return registry;
    }

    fn read(allocator: std.mem.Allocator, name: []const u8, dims: []const std.json.Value, bytes: []const u8) !?Tensor {
        const dtype: DataType = if (std.mem.eql(u8, name, "F32")) .f32 else if (std.mem.eql(u8, name, "I64")) .i64 else if (std.mem.eql(u8, name, "I32")) .i32 else return null;
        var shape: Shape = .{ ._dtype = dtype };
        for (dims) |dimension| shape = shape.append(dimension.integer, "_");
        const data = try allocator.alloc(f32, shape.count());
        switch (dtype) {
            .f32 => @memcpy(std.mem.sliceAsBytes(data), bytes),
            .i64 => for (data, 0..) |*value, index| {
                value.* = @floatFromInt(std.mem.readInt(i64, bytes[index * 8 ..][0..8], .little));
            },
            else => for (data, 0..) |*value, index| {
                value.* = @floatFromInt(std.mem.readInt(i32, bytes[index * 4 ..][0..4], .little));
            },
        }
        return .{ .data = data, ._shape = shape };
    }
};

pub const TensorStore = struct {
    registry: *TensorRegistry,

    pub fn fromRegistry(_: std.mem.Allocator, registry: *TensorRegistry) TensorStore {
        return .{ .registry = registry };
    }

    pub fn deinit(_: *TensorStore) void {}

    pub fn view(self: *TensorStore) View {
        return .{ .store = self };
    }

    pub const View = struct {
        store: *TensorStore,
        prefix: []const u8 = "",

        pub fn withPrefix(self: *const View, name: []const u8) View {
            return .{ .store = self.store, .prefix = join("{s}{s}.", self.prefix, name) };
        }

        pub fn createTensor(self: View, name: []const u8, tags: anytype, comptime partitioning: anytype) Tensor {
            comptime std.debug.assert(partitioning == .replicated);
            const key = join("{s}{s}", self.prefix, name);
            const tensor = self.store.registry.tensors.get(key) orelse std.debug.panic("the file has no tensor named {s}", .{key});
            return if (@TypeOf(tags) == @TypeOf(null)) tensor else tensor.withTags(tags);
        }

        fn join(comptime format: []const u8, prefix: []const u8, name: []const u8) []const u8 {
            return std.fmt.allocPrint(arena.*, format, .{ prefix, name }) catch @panic("out of memory");
        }
    };
};
