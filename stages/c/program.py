"""Compile the emitted C as strict C99, and run it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.base import StageError
from stages.c.project import SOURCES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STRICT = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O2")


def build(emitted: Path, scratch: Path) -> Path:
    """The program of main.c, by `zig cc`; StageError with the compiler's first error or warning."""
    program, cache = scratch / "program", str(scratch / "zig-cache")
    command = [sys.executable, "-m", "ziglang", "cc", *STRICT, "-o", str(program), *SOURCES, "-lm"]
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    done = subprocess.run(command, cwd=emitted, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        sys.stderr.write(done.stderr)
        said = next((line for line in done.stderr.splitlines() if "error" in line), "see the log")
        raise StageError(f"the emitted C is not strict C99: {said}", "run emit again; do not edit what it wrote")
    return program


def scorer(program: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Normalised samples, float32 (n, *shape) -> scores (n, classes); StageError if the program stops."""
    import numpy as np

    def score(x: NDArray[Any]) -> NDArray[np.float32]:
        given = np.ascontiguousarray(x, np.float32).tobytes()
        done = subprocess.run([str(program)], input=given, capture_output=True)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
            raise StageError(f"the emitted program stopped: {said}", "run emit again")
        # nine digits give a float32 back exactly
        return np.array(done.stdout.split(), np.float32).reshape(len(x), -1)

    return score
