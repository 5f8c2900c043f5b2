"""Compile the generated C with zig's clang: to a freestanding WebAssembly module, or to a native shared library."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recast.stages.base import StageError
from recast.stages.common.vendor_errors import refuse_if_killed

if TYPE_CHECKING:
    from recast.stages.compilers.onnx_c.compile import Sources

STACK_BYTES = 65536
"""of the wasm module; a kernel keeps large intermediates in scratch, not on the stack"""

# clang calls these for copies, and nothing else provides them; -fno-builtin keeps them from calling themselves
_MEMORY = """#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memcpy(void *restrict to, const void *restrict from, size_t n) {
  for (size_t i = 0; i < n; ++i) ((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
  return to;
}
void *memmove(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n) {
  if ((const char *)to < (const char *)from) return memcpy(to, from, n);
  for (size_t i = n; i > 0; --i) ((unsigned char *)to)[i - 1] = ((const unsigned char *)from)[i - 1];
  return to;
}
void *memset(void *to, int value, size_t n);
void *memset(void *to, int value, size_t n) {
  for (size_t i = 0; i < n; ++i) ((unsigned char *)to)[i] = (unsigned char)value;
  return to;
}
"""


def build_wasm(sources: Sources | Sequence[Sources], simd: bool, scratch: Path) -> bytes:
    """A module with no imports; `scratch` must exist. Several sources of different prefixes make one module.

    The same sources give the same bytes. Raises StageError with the compiler's first error.
    """
    group = _unit(sources, scratch)
    (scratch / "memory.c").write_text(_MEMORY, encoding="utf-8")
    flags = ["-target", "wasm32-freestanding", "-nostdlib", "-O3", "-DRC_EXPORTS", "-s", "-fno-sanitize=undefined"]
    flags += ["-msimd128"] if simd else []
    flags += ["-Wl,--no-entry", f"-Wl,-z,stack-size={STACK_BYTES}"]
    _zig([*flags, "-fno-builtin", "-c", "-o", "memory.o", "memory.c"], scratch)
    _zig([*flags, "-std=gnu99", "-Wno-c23-extensions", "-o", "module.wasm", *group, "memory.o"], scratch)
    return (scratch / "module.wasm").read_bytes()


def build_native(sources: Sources | Sequence[Sources], scratch: Path) -> Path:
    """A shared library of this machine with the functions of model.h, in `scratch`, which must exist.

    For a process that has libc and libm loaded, as Python has: zig would build its own for nine seconds.
    """
    flags = ["-O2", "-std=gnu99", "-Wno-c23-extensions", "-shared", "-fPIC", "-nostdlib", "-fno-sanitize=undefined"]
    _zig([*flags, "-o", "libmodel.so", *_unit(sources, scratch)], scratch)
    return scratch / "libmodel.so"


def write(sources: Sources, folder: Path) -> list[str]:
    """Write the deliverable C into a folder: model.c, model.h and model_weights.c; their names."""
    files = {**sources.files, "model_weights.c": sources.weights_c()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return sorted(files)


def _unit(sources: Sources | Sequence[Sources], scratch: Path) -> list[str]:
    """One C file over all sources and one that embeds all weights, written to scratch; their names."""
    several = list(sources) if isinstance(sources, Sequence) else [sources]
    model, weights = [], ["#include <stdint.h>"]
    for number, source in enumerate(several):
        folder = scratch / f"source{number}"
        folder.mkdir(exist_ok=True)
        for name, content in source.files.items():
            (folder / name).write_bytes(content)
        model.append(f'#include "source{number}/model.c"')
        for c_type, content in source.weights.items():
            (folder / f"{c_type}.bin").write_bytes(content)
            # as bytes under the array's name: the linker knows no types, and no text is parsed
            weights.append(f"extern const unsigned char {source.prefix}_weights_{c_type}[];")
            weights.append(f"__attribute__((aligned(64))) const unsigned char {source.prefix}_weights_{c_type}[] = {{")
            weights.append(f'#embed "source{number}/{c_type}.bin"\n}};')
    (scratch / "unit.c").write_text("\n".join(model) + "\n", encoding="utf-8")
    (scratch / "weights.c").write_text("\n".join(weights) + "\n", encoding="utf-8")
    return ["unit.c", "weights.c"]


def _zig(arguments: Sequence[str], scratch: Path) -> None:
    """`zig cc` in the scratch folder, with its caches there, so that no path enters what it writes."""
    cache = str(scratch / "zig-cache")
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    command = [sys.executable, "-m", "ziglang", "cc", *arguments]
    done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, errors="replace")
    sys.stderr.write(done.stdout + done.stderr)  # the compiler's own words belong in the stage's log
    refuse_if_killed("zig", done.returncode, "use a smaller model")
    if done.returncode:
        lines = (done.stderr.strip() or "no message").splitlines()
        error = next((line for line in lines if "error" in line), lines[0])
        raise StageError(f"the generated C does not compile: {error}", "this is a fault of the compiler; see the log")
