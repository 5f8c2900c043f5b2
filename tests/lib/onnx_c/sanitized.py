"""Many small models as one native program under the address and undefined-behaviour sanitizers.

Each model's inputs lie in memory that may only be read, and it runs twice on them: the second run must give the same
bytes. Built by `cc`, whose strict C99 every source is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.compilers.onnx_c.compile import Sources

FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsanitize=address,undefined")
RECOVER = "-fno-sanitize-recover=all"

HEAD = """\
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
"""

TAIL = """
static const void *fixed(size_t bytes) { /* read from standard input; a write to it is a fault of the process */
  void *at = mmap(0, bytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED || fread(at, 1, bytes, stdin) != bytes || mprotect(at, bytes + 4096, PROT_READ)) exit(2);
  return at;
}
static void *filled(size_t bytes) { /* on the heap, where the sanitizer sees what lies beyond the end */
  void *at = malloc(bytes);
  if (!at) exit(2);
  return memset(at, 0xA5, bytes);
}
"""


def run(
    sources: Sequence[Sources], inputs: Sequence[Sequence[NDArray[Any]]], scratch: Path
) -> list[list[NDArray[Any]]]:
    """The outputs of each source; AssertionError with what the compiler or a sanitizer says, or for a second run
    that differs from the first."""
    scratch.mkdir(parents=True, exist_ok=True)
    unit, weights, body = [HEAD], ["#include <stdint.h>\n#include <math.h>\n"], []
    for number, (source, arrays) in enumerate(zip(sources, inputs, strict=True)):
        folder = scratch / f"source{number}"
        folder.mkdir()
        for name, content in source.files.items():
            (folder / name).write_bytes(content)
        (folder / "model_weights.c").write_bytes(source.weights_c())
        unit.append(f'#include "source{number}/model.c"\n')
        weights.append(f'#include "source{number}/model_weights.c"\n')
        body += _calls(number, source, arrays)
    unit += [TAIL, "int main(void) {\n", *body, "  return 0;\n}\n"]
    (scratch / "unit.c").write_text("".join(unit), encoding="utf-8")
    (scratch / "weights.c").write_text("".join(weights), encoding="utf-8")
    command = ["cc", *FLAGS, RECOVER, "-o", "program", "unit.c", "weights.c", "-lm"]
    built = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[:3000]
    given = b"".join(np.ascontiguousarray(array).tobytes() for arrays in inputs for array in arrays)
    done = subprocess.run([scratch / "program"], input=given, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[:3000]
    return _outputs(sources, done.stdout)


def _calls(number: int, source: Sources, arrays: Sequence[NDArray[Any]]) -> list[str]:
    lines, given = [], []
    for index, (port, array) in enumerate(zip(source.inputs, arrays, strict=True)):
        assert array.shape == port.shape and str(array.dtype) == port.dtype
        lines.append(f"  const void *x{number}_{index} = fixed({array.nbytes});\n")
        given.append(f"x{number}_{index}")
    sizes = [max(1, port.size) * np.dtype(port.dtype).itemsize for port in source.outputs]
    runs = []
    for which in ("first", "second"):
        made = [f"{which}{number}_{index}" for index in range(len(sizes))]
        lines += [f"  void *{name} = filled({size});\n" for name, size in zip(made, sizes, strict=True)]
        runs.append(made)
        lines.append(f"  {source.prefix}_run({', '.join([*given, *made])});\n")
    for size, one, two in zip(sizes, *runs, strict=True):
        lines.append(
            f'  if (memcmp({one}, {two}, {size})) {{ fprintf(stderr, "{source.prefix} differs\\n"); exit(3); }}\n'
        )
        lines.append(f"  fwrite({one}, 1, {size}, stdout);\n  free({one});\n  free({two});\n")
    return lines


def _outputs(sources: Sequence[Sources], content: bytes) -> list[list[NDArray[Any]]]:
    found, at = [], 0
    for source in sources:
        made = []
        for port in source.outputs:
            size = max(1, port.size)
            array = np.frombuffer(content, port.dtype, size, at)[: port.size].reshape(port.shape)
            at += size * np.dtype(port.dtype).itemsize
            made.append(array)
        found.append(made)
    assert at == len(content)
    return found
