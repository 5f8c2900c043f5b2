"""Compile the emitted C as strict C99, and run it in this process."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import onnx_files
from stages.base import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STRICT = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O2")
# for a process that has libm loaded, as Python has: zig would build its own libc for seconds
LIBRARY = ("-shared", "-fPIC", "-nostdlib", "-o")
SOURCES = ("model.c", "model_weights.c")


def scorer(emitted: Path, scratch: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Normalised samples, float32 (n, *shape) -> scores (n, classes), by `model_run`.

    Every C file in the folder is compiled by `zig cc`, main.c too, though it is not run. Raises StageError with the
    compiler's first error or warning.
    """
    import numpy as np

    described = json.loads((emitted / "input.json").read_text(encoding="utf-8"))
    shapes = {port: tuple(described[port]["shape"]) for port in ("input", "output")}
    _compile(["-c", "-o", str(scratch / "main.o"), "main.c"], emitted, scratch)
    library = scratch / "model.so"
    _compile([*LIBRARY, str(library), *SOURCES], emitted, scratch)
    function = ctypes.CDLL(str(library)).model_run
    array = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
    function.argtypes, function.restype = (array, array), None

    def score(x: NDArray[Any]) -> NDArray[np.float32]:
        parts = []
        for part, count in onnx_files.split(np.ascontiguousarray(x, np.float32), 1, shapes["input"][0]):
            if part.shape != shapes["input"]:
                raise StageError(
                    f"the samples have shape {part.shape[1:]}, and the model takes {shapes['input'][1:]}",
                    "run emit again with the data that verify reads",
                )
            made = np.full(shapes["output"], np.nan, np.float32)
            function(part, made)
            parts.append(made[:count])
        return np.concatenate(parts)

    return score


def _compile(arguments: Sequence[str], emitted: Path, scratch: Path) -> None:
    cache = str(scratch / "zig-cache")
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    command = [sys.executable, "-m", "ziglang", "cc", *STRICT, *arguments]
    done = subprocess.run(command, cwd=emitted, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        sys.stderr.write(done.stderr)
        said = next((line for line in done.stderr.splitlines() if "error" in line), "see the log")
        raise StageError(f"the emitted C is not strict C99: {said}", "run emit again; do not edit what it wrote")
