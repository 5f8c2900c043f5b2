//! What `verify` builds: the emitted per-layer test and the emitted model, over the stand-in for ZML.
//!
//! Without arguments it runs the test, on the files of the working directory. With three it predicts: the
//! weights, samples (`input` of a safetensors file) and where the scores go, as bare f32.
const std = @import("std");
const torch2zml = @import("torch2zml");
const zml = @import("zml");

pub fn main(init: std.process.Init) !void {
    const allocator = init.arena.allocator();
    zml.useArena(allocator);
    var arguments = init.minimal.args.iterate();
    _ = arguments.skip();
    const weights = arguments.next() orelse return torch2zml.main(init);
    const samples = arguments.next() orelse return error.NoSamples;
    const scores = arguments.next() orelse return error.NoOutput;

    var weight_registry: zml.safetensors.TensorRegistry = try .fromPath(allocator, init.io, weights);
    var sample_registry: zml.safetensors.TensorRegistry = try .fromPath(allocator, init.io, samples);
    var weight_store: zml.io.TensorStore = .fromRegistry(allocator, &weight_registry);
    var sample_store: zml.io.TensorStore = .fromRegistry(allocator, &sample_registry);
    const model: torch2zml.Model = .init(weight_store.view());
    const predicted = model.forward(sample_store.view().createTensor("input", null, .replicated));
    try std.Io.Dir.cwd().writeFile(init.io, .{ .sub_path = scores, .data = std.mem.sliceAsBytes(predicted.data) });
}
