# environment: zml
"""Declarations for C names that are not there, from their uses and from what zig then says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from recast.stages.targets.zml.check import toolchain
from recast.stages.targets.zml.check.absent_modules import NAME, Absent, read_errors
from recast.stages.targets.zml.check.zig_modules import Module

# every way in which wrappers of a C interface use its names
WRAPPER = """\
const std = @import("std");
const c = @import("c");
const cpu = @import("cpu");

pub const Kind = enum(c.Lib_Kind) {
    small = c.Lib_Kind_Small,
    large = c.Lib_Kind_Large,
};

pub const Node = opaque {
    pub const Native = c.LibNode;

    pub fn native(self: *const Node) Native {
        return .{ .ptr = @ptrCast(@constCast(self)) };
    }

    pub fn make(context: *Node, children: []const *const Node) *Node {
        return @ptrCast(c.libNodeMake(context.native(), @intCast(children.len), @ptrCast(children)).ptr);
    }

    pub fn tryMake(context: *Node) !*Node {
        return @ptrCast(c.libNodeTry(context.native()).ptr orelse return error.NoNode);
    }

    pub fn count(self: *const Node) usize {
        return @intCast(c.libNodeCount(self.native()));
    }

    pub fn first(self: *const Node) ?*Node {
        const found = c.libNodeFirst(self.native());
        if (found.ptr == null) return null;
        return @ptrCast(found.ptr);
    }

    pub fn isLeaf(self: *const Node) bool {
        return c.libNodeIsLeaf(self.native());
    }

    pub fn name(self: *const Node) []const u8 {
        return text(c.libNodeName(self.native()));
    }

    pub fn drop(self: *Node) void {
        c.libNodeDrop(self.native());
    }

    pub const equal = compared(c.libNodeEqual);
};

fn compared(f: anytype) fn (*const Node, *const Node) bool {
    return struct {
        fn equal(one: *const Node, other: *const Node) bool {
            return f(one.native(), other.native());
        }
    }.equal;
}

pub fn view(bytes: []const u8) c.LibText {
    return .{ .data = bytes.ptr, .length = bytes.len };
}

pub fn text(from: c.LibText) []const u8 {
    return from.data[0..from.length];
}

pub const Span = struct {
    inner: ?*c.lib_span = null,

    pub fn start(said: []const u8) Span {
        return .{ .inner = c.lib_span_start(view(said)) };
    }

    pub fn end(self: Span) void {
        if (self.inner) |span| c.lib_span_stop(span);
    }
};

pub const Pair = struct {
    inner: c.LibPair,

    pub fn init(left: *const Node, right: *const Node) Pair {
        return .{ .inner = .{ .key = left.native(), .value = right.native() } };
    }

    pub fn key(self: Pair) *const Node {
        return @ptrCast(self.inner.key.ptr);
    }
};

pub fn register(comptime what: []const u8) void {
    @field(c, "libRegister" ++ what)();
}

pub fn configure(level: usize) !void {
    _ = c.setenv("LIB_LEVEL", "1", 1);
    if (c.libHasLevels()) c.libSetLevel(@intCast(level), Kind.large == .small);
    if (cpu.isEnabled()) try cpu.load();
    register("Passes");
}
"""
HARNESS = """\
const wrapper = @import("wrapper");

export fn all(one: *wrapper.Node, other: *wrapper.Node) usize {
    wrapper.configure(3) catch return 1;
    const span: wrapper.Span = .start(one.name());
    defer span.end();
    const made = wrapper.Node.make(one, &.{other});
    const tried = wrapper.Node.tryMake(made) catch return 2;
    defer tried.drop();
    const pair: wrapper.Pair = .init(made.first() orelse return 3, other);
    if (pair.key().isLeaf() and wrapper.Node.equal(one, other)) return 4;
    const kind: wrapper.Kind = .large;
    return made.count() + @as(usize, @intCast(@intFromEnum(kind)));
}
"""
TYPES = {"Lib_Kind", "Lib_Kind_Small", "Lib_Kind_Large", "LibNode", "LibText", "LibPair"}


def lay(folder: Path, wrapper: str = WRAPPER) -> Module:
    (folder / "harness.zig").write_text(HARNESS)
    main = folder / "wrapper.zig"
    main.write_text(wrapper)
    return Module("//lib:wrapper", main, {}, {"c": TYPES, "cpu": set()}, [main])


def analysed(folder: Path, absent: Absent) -> list[str]:
    """What zig finds wrong; what it says of the declarations is learnt."""
    (folder / f"{NAME}.zig").write_text(absent.text())
    command = [toolchain.zig(), "build-obj", "-fno-emit-bin", "--color", "off", "--cache-dir", "zig"]
    command += ["--global-cache-dir", "zig", "--dep", "wrapper", "-Mroot=harness.zig", "--dep", f"c={NAME}"]
    command += ["--dep", f"cpu={NAME}", "-Mwrapper=wrapper.zig", f"-M{NAME}={NAME}.zig"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    errors = read_errors(done.stderr, folder)
    assert bool(errors) == bool(done.returncode), done.stderr
    absent.learn(errors)
    return [f"{error.place.name}:{error.line}: {error.message}" for error in errors]


def settled(folder: Path, absent: Absent) -> list[str]:
    left = analysed(folder, absent)
    for _ in range(8):
        before, left = left, analysed(folder, absent)
        if left == before:
            break
    return left


def test_a_wrapper_of_names_that_are_not_there_is_analysed_without_an_error(tmp_path: Path) -> None:
    absent = Absent([lay(tmp_path)])
    assert analysed(tmp_path, absent)  # the text of the uses alone does not say everything
    assert settled(tmp_path, absent) == []
    declared = absent.text()
    assert "pub fn setenv(_: anytype, _: anytype, _: anytype)" in declared
    assert "pub fn libNodeMake(_: anytype, _: i64, _: [*c]const u8)" in declared
    assert "pub fn libRegisterPasses()" in declared
    assert "pub const struct_lib_span = opaque {};" in declared
    assert "pub const Lib_Kind_Large = 1;" in declared


@pytest.mark.parametrize(
    ("text", "wrong", "message"),
    [
        ("return c.libNodeIsLeaf(self.native());", "return c.libNodeIsLeaf(self.natives());", "no field or member"),
        ("text(c.libNodeName(self.native()))", "text(c.libNodeName(self.native()), 1)", "expected 1 argument"),
    ],
    ids=["a method that does not exist", "too many arguments"],
)
def test_a_fault_of_the_sources_themselves_is_not_declared_away(
    tmp_path: Path, text: str, wrong: str, message: str
) -> None:
    assert text in WRAPPER
    left = settled(tmp_path, Absent([lay(tmp_path, WRAPPER.replace(text, wrong))]))
    assert any(message in one for one in left), left
