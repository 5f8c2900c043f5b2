"""The check of types against a checkout of ZML: by zig alone where that reaches everything, else by Bazel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from recast.stages.base import StageError
from recast.stages.targets.zml.check import types
from recast.stages.targets.zml.check.toolchain import first_error
from recast.stages.targets.zml.project import ZML_COMMIT

MODULE = """\
module(name = "recast_check")
bazel_dep(name = "zml")
bazel_dep(name = "rules_zig")
local_path_override(module_name = "zml", path = "{checkout}")
"""
NEEDED = ("MODULE.bazel", "zml/BUILD.bazel", "zml/tensor.zig")


def require(checkout: Path) -> None:
    """StageError unless the folder is a checkout of ZML."""
    missing = [name for name in NEEDED if not (checkout / name).is_file()]
    if missing:
        raise StageError(
            f"verify.zml_checkout is no checkout of ZML: it has no {' and no '.join(missing)}",
            f"clone github.com/zml/zml there, at commit {ZML_COMMIT}",
        )


def check_types(emitted: Path, checkout: Path, scratch: Path) -> str:
    """`zig` or `bazel`, which found no error; StageError with the compiler's first one."""
    try:
        types.check(emitted, checkout, scratch)
    except types.NotReachedError as error:
        if not shutil.which("bazel"):
            raise StageError(
                f"zig alone cannot check the types against verify.zml_checkout: {error}",
                "see the log; put Bazel 9 on PATH as 'bazel' (bazelisk will do), or leave zml_checkout unset",
            ) from error
        sys.stderr.write(f"zig alone cannot check the types ({error}): Bazel builds them\n")
    else:
        return "zig"
    _build(emitted, checkout, scratch)
    return "bazel"


def _build(emitted: Path, checkout: Path, scratch: Path) -> None:
    """Build the emitted test with Bazel, which keeps what it downloads where the user's own builds do."""
    workspace = scratch / "bazel"
    shutil.copytree(emitted, workspace)
    (workspace / "MODULE.bazel").write_text(MODULE.format(checkout=checkout.as_posix()), encoding="utf-8")
    for name in (".bazelrc", ".bazelversion"):
        if (checkout / name).is_file():
            shutil.copyfile(checkout / name, workspace / name)
    command = ["bazel", "build", "//:torch2zml"]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, errors="replace", check=False)
    sys.stderr.write(done.stdout + done.stderr)
    if done.returncode:
        raise StageError(
            f"the emitted model does not compile against ZML itself: {first_error(done.stderr)}",
            f"see the log; the checkout must be at commit {ZML_COMMIT}",
        )
