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
OURS = "report it with the model: it is a fault of the compiler"
"""the remedy where the C was just written"""
EDITED = "run emit again; do not edit what it wrote"
"""the remedy where it lay in a folder since"""


def scorer(emitted: Path, scratch: Path, remedy: str = EDITED) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Normalised samples, float32 (n, *shape) -> scores (n, classes), by `model_run`.

    Every C file in the folder is compiled by `zig cc`, main.c too, though it is not run. Raises StageError with the
    compiler's first error or warning; and, when it is called, for C that writes to its input, or whose first batch has
    other scores once all were run.
    """
    import numpy as np

    described = json.loads((emitted / "input.json").read_text(encoding="utf-8"))
    shapes = {port: tuple(described[port]["shape"]) for port in ("input", "output")}
    _compile(["-c", "-o", str(scratch / "main.o"), "main.c"], emitted, scratch, remedy)
    library = scratch / "model.so"
    _compile([*LIBRARY, str(library), *SOURCES], emitted, scratch, remedy)
    function = ctypes.CDLL(str(library)).model_run
    array = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
    function.argtypes, function.restype = (array, array), None

    def run(part: NDArray[Any]) -> NDArray[np.float32]:
        given, made = part.copy(), np.full(shapes["output"], np.nan, np.float32)
        function(given, made)
        if given.tobytes() != part.tobytes():
            raise StageError("the emitted C writes to the input it is given", remedy)
        return made

    def score(x: NDArray[Any]) -> NDArray[np.float32]:
        parts, first = [], None
        for part, count in onnx_files.split(np.ascontiguousarray(x, np.float32), 1, shapes["input"][0]):
            if part.shape != shapes["input"]:
                raise StageError(
                    f"the samples have shape {part.shape[1:]}, and the model takes {shapes['input'][1:]}",
                    "run emit again with the data that verify reads",
                )
            made = run(part)
            first = first or (part, made)
            parts.append(made[:count])
        if first is not None and run(first[0]).tobytes() != first[1].tobytes():
            raise StageError("the emitted C gives other scores for the same input when it runs again", remedy)
        return np.concatenate(parts)

    return score


def _compile(arguments: Sequence[str], emitted: Path, scratch: Path, remedy: str) -> None:
    cache = str(scratch / "zig-cache")
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    command = [sys.executable, "-m", "ziglang", "cc", *STRICT, *arguments]
    done = subprocess.run(command, cwd=emitted, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        sys.stderr.write(done.stderr)
        said = next((line for line in done.stderr.splitlines() if "error" in line), "see the log")
        raise StageError(f"the emitted C is not strict C99: {said}", remedy)
