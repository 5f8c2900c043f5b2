//! A stand-in for the part of ZML that generated code uses: it computes at once what ZML would compile.
//!
//! Written for Recast from ZML's interface at commit f223acc; no code of ZML's is in it. A `Buffer` is a
//! `Tensor`, since tensors hold their elements here, and compiling a function keeps it for the call.
const std = @import("std");
const checkpoint = @import("checkpoint.zig");
const tensor = @import("tensor.zig");

pub const ops = @import("ops.zig");
pub const recorder = @import("recorder.zig");
pub const DataType = @import("shape.zig").DataType;
pub const Shape = @import("shape.zig").Shape;
pub const Tensor = tensor.Tensor;

/// Where tensors are allocated; ZML has nothing of the kind. Set it first.
pub fn useArena(allocator: std.mem.Allocator) void {
    tensor.arena = allocator;
}

pub const safetensors = struct {
    pub const TensorRegistry = checkpoint.TensorRegistry;
};

pub const io = struct {
    pub const TensorStore = checkpoint.TensorStore;

    pub const Loader = struct {
        pub const Opts = struct {
            pub const default: Opts = .{ .parallelism = 1, .dma_chunks = 1, .dma_chunk_size = 1 };

            parallelism: usize,
            dma_chunks: usize,
            dma_chunk_size: usize,
        };

        pub fn init(allocator: std.mem.Allocator, _: *const Platform, _: Opts) !Loader {
            // all there is to do is done by `load`; ZML's may fail, so this one must be tried as well
            allocator.free(try allocator.alloc(u8, 0));
            return .{};
        }

        pub fn deinit(_: Loader) void {}

        pub fn load(_: *Loader, _: std.Io, comptime T: type, from: *const T, to: *Bufferized(T), _: *const TensorStore, _: []const Sharding, _: struct {}) void {
            to.* = from.*;
        }

        pub fn await(_: *Loader, _: std.Io) std.Io.Cancelable!void {}
    };
};

pub const Sharding = struct {};

pub fn Bufferized(comptime T: type) type {
    return T;
}

pub const mem = struct {
    pub fn bufferize(_: std.mem.Allocator, comptime T: type, value: *const T) !Bufferized(T) {
        return value.*;
    }

    pub fn deinitBufferized(_: std.mem.Allocator, comptime T: type, _: *Bufferized(T)) void {}
};

pub const Buffer = Tensor;

pub const Slice = tensor.HostCopy;

pub const Platform = struct {
    pub fn auto(allocator: std.mem.Allocator, _: std.Io, _: struct {}) !*Platform {
        return allocator.create(Platform);
    }

    pub fn deinit(_: *Platform, _: std.mem.Allocator, _: std.Io) void {}

    pub fn compileFn(_: *const Platform, _: std.mem.Allocator, _: std.Io, comptime function: anytype, _: anytype, _: struct {}) !Executable(function) {
        return .{};
    }
};

fn Executable(comptime function: anytype) type {
    return struct {
        const Exe = @This();

        pub const Arguments = struct {
            values: std.meta.ArgsTuple(@TypeOf(function)) = undefined,

            pub fn set(self: *Arguments, values: anytype) void {
                inline for (values, 0..) |value, index| self.values[index] = value;
            }

            pub fn deinit(_: *Arguments, _: std.mem.Allocator) void {}
        };

        pub const Results = struct {
            value: Tensor = undefined,

            pub fn get(self: *Results, comptime T: type) T {
                return self.value;
            }

            pub fn deinit(_: *Results, _: std.mem.Allocator) void {}
        };

        pub fn args(_: Exe, _: std.mem.Allocator) !Arguments {
            return .{};
        }

        pub fn results(_: Exe, _: std.mem.Allocator) !Results {
            return .{};
        }

        pub fn call(_: Exe, arguments: Arguments, output: *Results) void {
            output.value = @call(.auto, function, arguments.values);
        }

        pub fn deinit(_: Exe) void {}
    };
}
