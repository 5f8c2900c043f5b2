"""Build the emitted folder with Bazel against a real checkout of ZML: the check of types."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from stages.base import StageError
from stages.zml.project import ZML_COMMIT
from stages.zml.toolchain import first_error

MODULE = """\
module(name = "recast_check")
bazel_dep(name = "zml")
bazel_dep(name = "rules_zig")
local_path_override(module_name = "zml", path = "{checkout}")
"""


def require(checkout: Path) -> None:
    """StageError unless the folder is a checkout of ZML and Bazel is there to build it."""
    if not (checkout / "zml" / "tensor.zig").is_file() or not (checkout / "MODULE.bazel").is_file():
        raise StageError(
            "verify.zml_checkout is no checkout of ZML: it has no MODULE.bazel and zml/tensor.zig",
            f"clone github.com/zml/zml there, at commit {ZML_COMMIT}",
        )
    if not shutil.which("bazel"):
        raise StageError(
            "verify.zml_checkout needs Bazel, and there is no 'bazel' on PATH",
            "install Bazel 9 (bazelisk under that name will do), or leave zml_checkout unset",
        )


def check_types(emitted: Path, checkout: Path, scratch: Path) -> None:
    """Compile the emitted test against the checkout; StageError with the compiler's first error.

    Bazel keeps what it downloads where the user's own builds do.
    """
    require(checkout)
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
