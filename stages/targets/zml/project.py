"""The files around model.zig: the per-layer test, what Bazel builds, and how to use the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recast.stages.targets.zml.codegen import zig_text
from recast.stages.targets.zml.codegen.structs import Struct

ZML_COMMIT = "f223acc"
"""of github.com/zml/zml, 2026-08-20: the interface the generated code is written against"""
ZIG_VERSION = "0.16.0"
MODEL, TEST, WEIGHTS, ACTIVATIONS = "model.zig", "torch2zml.zig", "model.safetensors", "activations.safetensors"
SHIPS = (MODEL, WEIGHTS)


@dataclass(frozen=True)
class Sample:
    """One call of a layer that was sampled: its name among the activations, its struct, its inputs' keys."""

    name: str
    struct: Struct
    inputs: tuple[str, ...]
    output: str


def samples(root: Struct, layers: Sequence[str], keys: Sequence[str], model: str) -> list[Sample]:
    """The calls among `layers` (in that order) whose struct the model has and whose tensors are among `keys`.

    `model` is what the activations call the whole model.
    """
    structs: Mapping[str, Struct] = {struct.path or model: struct for struct in root.walk() if struct.layer}
    known = set(keys)
    found = []
    for name in layers:
        struct = structs.get(name.partition("#")[0])
        if struct is None:
            continue
        inputs = tuple(f"{name}.in.{key}" for key in struct.inputs)
        if {*inputs, f"{name}.out.0"} <= known:
            found.append(Sample(name, struct, inputs, f"{name}.out.0"))
    return found


TEST_ZIG = """\
//! Tests every layer of model.zig, and the whole model, against the activations sampled from PyTorch.
//!
//! Run it in this folder. It prints a line per layer and returns an error if any differs.
const std = @import("std");
const zml = @import("zml");
const layers = @import("model.zig");

pub const Model = layers.Model;

/// The largest error of an element, relative to its own size where that is above 1.
const tolerance: f32 = @TOLERANCE@;

pub fn main(init: std.process.Init) !void {
    const allocator = init.arena.allocator();
    const platform = try zml.Platform.auto(allocator, init.io, .{});
    defer platform.deinit(allocator, init.io);

    var weights = try zml.safetensors.TensorRegistry.fromPath(allocator, init.io, "model.safetensors");
    var activations = try zml.safetensors.TensorRegistry.fromPath(allocator, init.io, "activations.safetensors");
    var weight_store: zml.io.TensorStore = .fromRegistry(allocator, &weights);
    defer weight_store.deinit();
    var activation_store: zml.io.TensorStore = .fromRegistry(allocator, &activations);
    defer activation_store.deinit();

    var run: Run = .{
        .allocator = allocator,
        .io = init.io,
        .platform = platform,
        .weights = &weight_store,
        .activations = &activation_store,
    };
@LAYERS@
    std.debug.print("{d} of {d} layers differ\\n", .{ run.mismatches, run.layers });
    if (run.mismatches > 0) return error.LayerMismatch;
}

const Run = struct {
    allocator: std.mem.Allocator,
    io: std.Io,
    platform: *zml.Platform,
    weights: *zml.io.TensorStore,
    activations: *zml.io.TensorStore,
    layers: usize = 0,
    mismatches: usize = 0,

    /// Compile and run one layer on its sampled inputs. `path` is where its weights are; empty for the model.
    fn layer(
        self: *Run,
        comptime Layer: type,
        name: []const u8,
        path: []const u8,
        comptime inputs: []const []const u8,
        output: []const u8,
    ) !void {
        std.debug.print("layer {s}: ", .{name});
        const Sample = struct { in: std.meta.Tuple(&([_]type{zml.Tensor} ** inputs.len)), out: zml.Tensor };
        const root = self.weights.view();
        const symbolic: Layer = .init(if (path.len > 0) root.withPrefix(path) else root);
        const view = self.activations.view();
        var sample: Sample = undefined;
        inline for (inputs, 0..) |key, index| sample.in[index] = view.createTensor(key, null, .replicated);
        sample.out = view.createTensor(output, null, .replicated);

        var arguments: std.meta.ArgsTuple(@TypeOf(Layer.forward)) = undefined;
        arguments[0] = symbolic;
        inline for (0..inputs.len) |index| arguments[index + 1] = sample.in[index];
        var executable = try self.platform.compileFn(self.allocator, self.io, Layer.forward, arguments, .{});
        defer executable.deinit();

        const buffers = try self.load(Layer, &symbolic, self.weights);
        const given = try self.load(Sample, &sample, self.activations);
        var values: std.meta.Tuple(&([_]type{zml.Bufferized(Layer)} ++ [_]type{zml.Buffer} ** inputs.len)) = undefined;
        values[0] = buffers;
        inline for (0..inputs.len) |index| values[index + 1] = given.in[index];

        var call = try executable.args(self.allocator);
        defer call.deinit(self.allocator);
        var results = try executable.results(self.allocator);
        defer results.deinit(self.allocator);
        call.set(values);
        executable.call(call, &results);
        const result: zml.Buffer = results.get(zml.Buffer);
        try self.compare(result, given.out);
    }

    fn load(self: *Run, comptime T: type, tensors: *const T, store: *zml.io.TensorStore) !zml.Bufferized(T) {
        var buffers = try zml.mem.bufferize(self.allocator, T, tensors);
        if (@sizeOf(T) == 0) return buffers;
        var loader = try zml.io.Loader.init(self.allocator, self.platform, .default);
        defer loader.deinit();
        loader.load(self.io, T, tensors, &buffers, store, &.{}, .{});
        try loader.await(self.io);
        return buffers;
    }

    fn compare(self: *Run, result: zml.Buffer, expected: zml.Buffer) !void {
        const left = try result.toSliceAlloc(self.allocator, self.io);
        defer left.free(self.allocator);
        const right = try expected.toSliceAlloc(self.allocator, self.io);
        defer right.free(self.allocator);
        self.layers += 1;
        if (!std.mem.eql(i64, left.shape.dims(), right.shape.dims())) {
            self.mismatches += 1;
            std.debug.print("shape {any} instead of {any} DIFFERS\\n", .{ left.shape.dims(), right.shape.dims() });
            return;
        }
        var largest: f32 = 0;
        var wrong = false;
        for (left.items(f32), right.items(f32)) |got, wanted| {
            const difference = @abs(got - wanted);
            // written so that NaN is wrong too
            if (!(difference <= tolerance * @max(1, @abs(wanted)))) wrong = true;
            if (!(difference <= largest)) largest = difference;
        }
        if (wrong) self.mismatches += 1;
        std.debug.print("error {e} {s}\\n", .{ largest, if (wrong) "DIFFERS" else "agrees" });
    }
};
"""

BUILD_BAZEL = """\
load("@rules_zig//zig:defs.bzl", "zig_binary", "zig_library")

zig_library(
    name = "model",
    main = "model.zig",
    visibility = ["//visibility:public"],
    deps = ["@zml//zml"],
)

zig_binary(
    name = "torch2zml",
    srcs = ["model.zig"],
    data = [
        "activations.safetensors",
        "model.safetensors",
    ],
    main = "torch2zml.zig",
    deps = ["@zml//zml"],
)
"""

README = """\
# {model}, for ZML

| file | is |
|---|---|
| `model.zig` | the model: a struct per PyTorch module, with its names, each with `init` and `forward` |
| `model.safetensors` | the weights, float32, under PyTorch's names |
| `activations.safetensors` | inputs and outputs of every layer, sampled from PyTorch on {samples} samples |
| `torch2zml.zig` | tests every layer against them; an error above {tolerance:g} fails |
| `BUILD.bazel` | both, as Bazel targets |
| `ZML_COMMIT` | the commit of github.com/zml/zml it is written for |
| `input.json` | how a stored sample becomes the model's input |

`Model.forward` takes {takes} (N, {shape}) and gives float32 (N, {outputs}): {meaning}.
{preparation}

To build it, put the folder into a checkout of ZML at commit {commit}, as `examples/recast`, and run

```sh
bazel build //examples/recast:torch2zml
cd examples/recast && ../../bazel-bin/examples/recast/torch2zml
```

In code of your own:

```zig
var registry: zml.safetensors.TensorRegistry = try .fromPath(allocator, io, "model.safetensors");
var store: zml.io.TensorStore = .fromRegistry(allocator, &registry);
const model: Model = .init(store.view());
const input: zml.Tensor = .init(.{{ 1, {shape} }}, .f32);
var executable = try platform.compileFn(allocator, io, Model.forward, .{{ model, input }}, .{{}});
```
"""


def test_zig(cases: Sequence[Sample], tolerance: float) -> str:
    """torch2zml.zig."""
    lines = []
    for case in cases:
        inputs = [f'"{key}"' for key in case.inputs]
        listed = f"&{zig_text.values(inputs)}"
        lines.append(
            f'    try run.layer(layers.{case.struct.name}, "{case.name}", "{case.struct.path}", '
            f'{listed}, "{case.output}");'
        )
    text = TEST_ZIG.replace("@TOLERANCE@", zig_text.number(tolerance))
    return text.replace("@LAYERS@", "\n".join(lines))
