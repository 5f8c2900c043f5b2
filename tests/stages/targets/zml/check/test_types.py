# environment: zml
"""The check of types by zig alone, on a checkout made of the stand-in, and on ZML's own where there is one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from recast.stages.base import StageError
from recast.stages.targets.zml.check import types, zig_modules
from recast.stages.targets.zml.check.absent_modules import Absent
from tests.lib.zml.verifying import STAND_IN, copied, run

pytestmark = pytest.mark.usefixtures("quickly")

BUILD = """\
load("@rules_zig//zig:defs.bzl", "zig_library")

cc_library(name = "headers", hdrs = ["zml.h"])

zig_library(
    name = "zml",
    main = "zml.zig",
    deps = [":headers", "//pjrt", "@rules_zig//zig/runfiles"] + select({"//conditions:default": ["//stdx:more"]}),
)
"""
PJRT = """\
const c = @import("c");

pub const rank = c.mlirRanks.tensor;

pub const Value = opaque {
    pub const Native = c.MlirValue;

    pub fn native(self: *Value) Native {
        return .{ .ptr = self };
    }
};

pub fn load(path: []const u8) !*Value {
    return c.PJRT_Load(path.ptr) orelse error.NoPlugin;
}
"""
EDGES = (
    ("zml.zig", 'const std = @import("std");\n', 'const pjrt = @import("pjrt");\n', ""),
    ("zml.zig", "        return allocator.create(Platform);", '        _ = try pjrt.load("cpu");\n', ""),
    ("zml.zig", "        return .{};\n    }\n};\n\nfn Exec", '        _ = try pjrt.load("x");\n', ""),
    ("tensor.zig", "    _shape: Shape,\n", "", '    value: ?*const @import("pjrt").Value = null,\n'),
)
"""file, text, what is put before and behind it: uses of what is absent from ZML's own checkout, in its way"""
MODELS = (
    "Images/emit",
    "Images/unfolded",
    "Sequences/emit",
    "Signals/emit",
    "Pixels/emit",
    "Mixed/emit",
    "LeNet/emit",
    "MnistMlp/emit",
)
FAULTS = {
    "too many arguments": ("model.zig", "x.relu()", "x.relu(1)", "expected 0 argument"),
    "an axis that is no tag": ("model.zig", ".withTags(.{.c})", ".withTags(.{1.5})", "(used in model.zig:"),
    "an option that does not exist": ("model.zig", ".rhs_dilation =", ".dilation =", "no field named 'dilation'"),
    "a field that does not exist": ("model.zig", "self.stem.forward", "self.stalk.forward", "no field named 'stalk'"),
    "an enum tag that does not exist": ("model.zig", ".replicated),", ".copied),", "(used in model.zig:"),
    "a type for another": ("model.zig", "mean(.h).mean(.w)", "mean(.h).shape()", "expected type"),
    "in the test, too few arguments": ("torch2zml.zig", "&.{}, .{});", "&.{});", "argument"),
    "in the test, behind what is absent": ("torch2zml.zig", "call.set(values);", "call.put(values);", "'put'"),
    "in the test, at its end": ("torch2zml.zig", "left.items(f32), right", "left.itemz(f32), right", "'itemz'"),
}
FAULTS_AGAINST_ZML = {
    **FAULTS,
    "the loader of an older ZML": (
        "torch2zml.zig",
        "self.platform, .default",
        "self.io, self.platform, .{}",
        "argument",
    ),
    "a handle of an older ZML": (
        "torch2zml.zig",
        "try loader.await(self.io);",
        "try loader.await();",
        "expected 1 argument",
    ),
    "another number of windows": ("model.zig", "        1,\n        .{x},", "        2,\n        .{x},", "model.zig:"),
    "a window's function of an older ZML": ("model.zig", "[1]zml.Tensor {", "struct { zml.Tensor } {", "model.zig:"),
    "a tensor for a buffer": ("torch2zml.zig", "results.get(zml.Buffer)", "results.get(zml.Tensor)", "torch2zml.zig:"),
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Laid out and built as ZML's, with calls of C interfaces that only Bazel would bring."""
    root = tmp_path / "checkout"
    shutil.copytree(STAND_IN, root / "zml")
    for file, text, before, behind in EDGES:
        content = (root / "zml" / file).read_text()
        assert text in content
        (root / "zml" / file).write_text(content.replace(text, before + text + behind, 1))
    (root / "MODULE.bazel").write_text('module(name = "zml")\n')
    (root / "zml" / "BUILD.bazel").write_text(BUILD)
    (root / "pjrt").mkdir()
    (root / "pjrt" / "pjrt.zig").write_text(PJRT)
    (root / "pjrt" / "BUILD.bazel").write_text('zig_library(name = "pjrt", main = "pjrt.zig", deps = ["//mlir:c"])\n')
    return root


def test_modules_are_read_from_the_build_files(checkout: Path) -> None:
    found = zig_modules.modules(checkout)
    assert set(found) == {"//zml:zml", "//pjrt:pjrt"}
    assert found["//zml:zml"].imports == {"pjrt": "//pjrt:pjrt"}
    assert found["//zml:zml"].absent == {}
    assert found["//pjrt:pjrt"].absent == {"c": {"MlirValue"}}


def test_a_dependency_that_a_build_file_computes_is_found_by_its_name(checkout: Path) -> None:
    (checkout / "pjrt" / "pjrt.zig").write_text('const cpu = @import("platforms/cpu");\nconst c = @import("c");\n')
    (checkout / "pjrt" / "BUILD.bazel").write_text(
        'zig_library(name = "pjrt", main = "pjrt.zig", deps = ["//platforms/{}".format(one) for one in ["cpu"]])\n'
    )
    (checkout / "platforms" / "cpu").mkdir(parents=True)
    (checkout / "platforms" / "cpu" / "BUILD.bazel").write_text(
        'zig_library(name = "cpu", import_name = "platforms/cpu")\n'
    )
    found = zig_modules.modules(checkout)
    assert found["//pjrt:pjrt"].imports == {"platforms/cpu": "//platforms/cpu:cpu"}
    assert set(found["//pjrt:pjrt"].absent) == {"c"}
    assert found["//platforms/cpu:cpu"].main == checkout / "platforms/cpu/cpu.zig"


@pytest.mark.parametrize("model", ["Images/unfolded", "Sequences/emit", "LeNet/emit"])
def test_what_is_emitted_has_no_error_of_types(emitted: Path, checkout: Path, tmp_path: Path, model: str) -> None:
    text = (emitted / model / "model.zig").read_text()
    functions = text.count("    pub fn ") + text.count("\nfn ")
    # and main, layer, load and compare of the test
    assert types.check(emitted / model, checkout, tmp_path) == functions + 4


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_of_types_is_reported(emitted: Path, checkout: Path, tmp_path: Path, fault: str) -> None:
    file, text, wrong, message = FAULTS[fault]
    root = copied(emitted, tmp_path)
    before = (root / "emit" / file).read_text()
    assert text in before
    (root / "emit" / file).write_text(before.replace(text, wrong, 1))
    with pytest.raises(StageError, match="the emitted model does not fit ZML itself") as refusal:
        types.check(root / "emit", checkout, tmp_path)
    assert message in refusal.value.message


def test_what_zig_alone_cannot_reach_is_left_to_bazel(
    emitted: Path, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copied(emitted, tmp_path)
    metrics = run(root, out="verify by zig", zml_checkout="checkouts/zml")
    assert (metrics["checked"], metrics["types_checked_by"]) == ("types", "zig")
    # a tensor whose size a C interface says: nothing that uses one can be analysed
    path = checkout / "zml" / "tensor.zig"
    path.write_text(
        path.read_text().replace('?*const @import("pjrt").Value = null', '[@import("pjrt").rank]u8 = undefined')
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        StageError, match=r"zig alone cannot check .*: \d+ of \d+ functions are not analysed: pjrt.zig:3"
    ):
        run(root, zml_checkout="checkouts/zml")
    program = tmp_path / "bazel"
    program.write_text("#!/bin/sh\n[ -f torch2zml.zig ] && [ \"$*\" = 'build //:torch2zml' ]\n")
    program.chmod(0o755)
    metrics = run(root, out="verify again", zml_checkout="checkouts/zml")
    assert (metrics["checked"], metrics["types_checked_by"]) == ("types", "bazel")
    program.write_text("#!/bin/sh\necho '/x/model.zig:1:1: error: no such thing' >&2\nexit 1\n")
    with pytest.raises(StageError, match=r"does not compile against ZML itself: model\.zig:1:1: no such thing"):
        run(root, out="verify with bazel", zml_checkout="checkouts/zml")


def test_a_folder_that_is_no_zml_checkout_is_refused(emitted: Path, tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    with pytest.raises(StageError, match=r"is no checkout of ZML: it has no MODULE\.bazel and no zml/BUILD\.bazel"):
        run(copied(emitted, tmp_path), zml_checkout="checkouts/zml")


def test_a_build_file_that_cannot_be_read_is_named(checkout: Path) -> None:
    (checkout / "pjrt" / "BUILD.bazel").write_text("zig_library(")
    with pytest.raises(StageError, match=r"cannot read pjrt/BUILD\.bazel"):
        zig_modules.modules(checkout)


@pytest.fixture(scope="module")
def zml() -> tuple[Path, Absent]:
    """ZML's own sources, and the declarations they need, which are completed from one check to the next."""
    if "RECAST_ZML_CHECKOUT" not in os.environ:
        pytest.skip("RECAST_ZML_CHECKOUT names no checkout of ZML")
    root = Path(os.environ["RECAST_ZML_CHECKOUT"])
    return root, Absent(zig_modules.modules(root).values())


@pytest.mark.parametrize("model", MODELS)
def test_what_is_emitted_fits_zml_itself(emitted: Path, zml: tuple[Path, Absent], tmp_path: Path, model: str) -> None:
    functions = sum((emitted / model / "model.zig").read_text().count(text) for text in ("    pub fn ", "\nfn "))
    assert types.check(emitted / model, zml[0], tmp_path, zml[1]) == functions + 4


@pytest.mark.parametrize("fault", FAULTS_AGAINST_ZML)
def test_zml_itself_shows_an_error_of_types(
    emitted: Path, zml: tuple[Path, Absent], tmp_path: Path, fault: str
) -> None:
    file, text, wrong, message = FAULTS_AGAINST_ZML[fault]
    root = copied(emitted, tmp_path)
    before = (root / "emit" / file).read_text()
    assert text in before
    (root / "emit" / file).write_text(before.replace(text, wrong, 1))
    with pytest.raises(StageError, match="the emitted model does not fit ZML itself") as refusal:
        types.check(root / "emit", zml[0], tmp_path, zml[1])
    assert message in refusal.value.message
