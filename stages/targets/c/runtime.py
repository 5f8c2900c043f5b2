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

from recast.stages.base import StageError
from recast.stages.common import samples
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.samples import Taken

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRICT = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O2")
# for a process that has libm loaded, as Python has: zig would build its own libc for seconds
LIBRARY = ("-shared", "-fPIC", "-nostdlib", "-o")
SOURCES = ("model.c", "model_weights.c")
OURS = "report it with the model: it is a fault of the compiler"
"""the remedy where the C was just written"""
EDITED = "run emit again; do not edit what it wrote"
"""the remedy where it lay in a folder since"""


def scorer(emitted: Path, scratch: Path, remedy: str = EDITED, checks: bool = True) -> Callable[[Taken], Any]:
    """Samples as the model takes them (n, *shape) -> outputs (n, ...), by `model_run`; Samples of several of either.

    Every C file in the folder is compiled by `zig cc`, main.c too, though it is not run. Raises StageError with the
    compiler's first error or warning; and, when it is called, for C that writes to its input, or whose first batch has
    other scores once all were run, unless it `checks` nothing.
    """
    import numpy as np

    described = json.loads((emitted / "input.json").read_text(encoding="utf-8"))
    batch = described["batch"]
    # in the order of the arguments
    taken, made = (
        {one["name"]: (np.dtype(one["dtype"]), (batch, *one["shape"])) for one in described[ports]}
        for ports in ("inputs", "outputs")
    )
    _compile(["-c", "-o", str(scratch / "main.o"), "main.c"], emitted, scratch, remedy)
    library = scratch / "model.so"
    _compile([*LIBRARY, str(library), *SOURCES], emitted, scratch, remedy)
    function = ctypes.CDLL(str(library)).model_run
    ports = (*taken.values(), *made.values())
    function.argtypes = tuple(np.ctypeslib.ndpointer(dtype, flags="C_CONTIGUOUS") for dtype, _ in ports)
    function.restype = None

    def run(part: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        given = {name: value.copy() for name, value in part.items()}
        # what is not written must be seen
        found = {
            name: np.full(shape, np.nan if dtype.kind == "f" else 1, dtype) for name, (dtype, shape) in made.items()
        }
        function(*given.values(), *found.values())
        if checks and _bits(given) != _bits(part):
            raise StageError("the emitted C writes to the input it is given", remedy)
        return found

    def score(x: Taken) -> Any:
        parts, first = [], None
        for one, count in onnx_files.split(x, 1, batch):
            given = samples.named(one, list(taken), "the emitted C")
            part = {name: np.ascontiguousarray(given[name], dtype) for name, (dtype, _) in taken.items()}
            for name, (_, shape) in taken.items():
                if part[name].shape != shape:
                    raise StageError(
                        f"the samples{f' of {name}' if len(taken) > 1 else ''} have shape {part[name].shape[1:]}, and "
                        f"the model takes {shape[1:]}",
                        "run emit again with the data that verify reads",
                    )
            found = run(part)
            first = first or (part, found)
            parts.append(samples.of({name: value[:count] for name, value in found.items()}))
        if checks and first is not None and _bits(run(first[0])) != _bits(first[1]):
            raise StageError("the emitted C gives other scores for the same input when it runs again", remedy)
        return samples.joined(parts)

    return score


def _bits(arrays: dict[str, NDArray[Any]]) -> list[bytes]:
    return [array.tobytes() for array in arrays.values()]


def _compile(arguments: Sequence[str], emitted: Path, scratch: Path, remedy: str) -> None:
    cache = str(scratch / "zig-cache")
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    command = [sys.executable, "-m", "ziglang", "cc", *STRICT, *arguments]
    done = subprocess.run(command, cwd=emitted, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        sys.stderr.write(done.stderr)
        said = next((line for line in done.stderr.splitlines() if "error" in line), "see the log")
        raise StageError(f"the emitted C is not strict C99: {said}", remedy)
