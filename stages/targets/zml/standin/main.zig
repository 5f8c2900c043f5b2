//! What `verify` builds: the emitted per-layer test and the emitted model, over the stand-in for ZML.
//!
//! | arguments | it |
//! |---|---|
//! | none | runs the test, on the files of the working directory |
//! | `predict` WEIGHTS SAMPLES SCORES | runs the model on `input` of SAMPLES; SCORES are bare f32 |
//! | `layers` WEIGHTS SAMPLES RESULTS | runs its watched copy, and writes what every layer gives as safetensors |
//! | `layers` WEIGHTS SAMPLES RESULTS GIVEN | the same, each layer reading what GIVEN has in place of the results before it |
const std = @import("std");
const torch2zml = @import("torch2zml");
const watched = @import("watched");
const zml = @import("zml");

pub fn main(init: std.process.Init) !void {
    const allocator = init.arena.allocator();
    zml.useArena(allocator);
    var arguments = init.minimal.args.iterate();
    _ = arguments.skip();
    const verb = arguments.next() orelse return torch2zml.main(init);
    const weights = arguments.next() orelse return error.NoWeights;
    const samples = arguments.next() orelse return error.NoSamples;
    const out = arguments.next() orelse return error.NoOutput;

    var weight_registry: zml.safetensors.TensorRegistry = try .fromPath(allocator, init.io, weights);
    var sample_registry: zml.safetensors.TensorRegistry = try .fromPath(allocator, init.io, samples);
    var weight_store: zml.io.TensorStore = .fromRegistry(allocator, &weight_registry);
    var sample_store: zml.io.TensorStore = .fromRegistry(allocator, &sample_registry);
    const input = sample_store.view().createTensor("input", null, .replicated);
    if (std.mem.eql(u8, verb, "layers")) {
        var given: zml.safetensors.TensorRegistry = .{};
        if (arguments.next()) |path| given = try .fromPath(allocator, init.io, path);
        zml.recorder.replaceBy(&given);
        const model: watched.Model = .init(weight_store.view());
        _ = model.forward(input);
        return zml.recorder.write(init.io, out, input.dim(0));
    }
    const model: torch2zml.Model = .init(weight_store.view());
    const predicted = model.forward(input);
    try std.Io.Dir.cwd().writeFile(init.io, .{ .sub_path = out, .data = std.mem.sliceAsBytes(predicted.data) });
}
