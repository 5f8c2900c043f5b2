"""The fallback for models our compiler does not know: emx-onnx-cgen writes the C, and zig builds it with its libc.

It knows many operators, and is silently wrong in places: what it makes is used only after `equivalence`.
"""

from __future__ import annotations

import subprocess
import sys
from math import prod
from pathlib import Path

from recast.stages.base import StageError, progress
from recast.stages.common.onnx_models import onnx_files

VERSION = "1.4.0"
OTHER = "set emit.engine to native, or use operations that our compiler knows"
FLAGS = (
    *("-target", "wasm32-wasi", "-mexec-model=reactor", "-O3", "-std=c11", "-s"),
    # a model's larger buffers come from malloc, so a modest stack holds the rest
    *("-Wl,-z,stack-size=1048576", "-Wl,--export-memory", "-Wl,--strip-all", "-Wno-everything"),
)
PORTS = """
__attribute__((aligned(16))) static float recast_input[{input}];
__attribute__((aligned(16))) static float recast_output[{output}];
__attribute__((export_name("input"))) void *recast_input_at(int i) {{ return i == 0 ? recast_input : 0; }}
__attribute__((export_name("output"))) void *recast_output_at(int i) {{ return i == 0 ? recast_output : 0; }}
__attribute__((export_name("run"))) int recast_run(void) {{
  emx_model((void *)recast_input, (void *)recast_output);
  return 0;
}}
"""


def build(model: onnx_files.Model, scratch: Path) -> bytes:
    """The module of a model with a fixed batch; StageError with emx-onnx-cgen's or the compiler's own words.

    One module for every machine: its scalar code is no faster as SIMD.
    """
    taken, given_out = onnx_files.inputs_of(model), onnx_files.outputs_of(model)
    if len(taken) > 1 or len(given_out) > 1:
        raise StageError(
            f"emx-onnx-cgen is used for one input and one output, and the model has {len(taken)} and {len(given_out)}",
            OTHER,
        )
    # the first name: emx-onnx-cgen keeps its own modules in a package called `shared`
    from emx_onnx_cgen.compiler import Compiler, CompilerOptions

    # every weight in the module: beyond the threshold it would be read from a file
    options = CompilerOptions(model_name="emx_model", large_weight_threshold=sys.maxsize)
    try:
        code, data = Compiler(options).compile_with_data_file(model)
    except Exception as error:  # its errors share no base but Exception
        raise StageError(f"emx-onnx-cgen {VERSION} cannot compile it: {onnx_files.first_line(error)}", OTHER) from error
    given, made = (onnx_files.only_input(model, "the model"), onnx_files.only_output(model, "the model"))
    ports = PORTS.format(input=_size(given), output=_size(made))
    folder = scratch / "emx"
    folder.mkdir()
    (folder / "model.c").write_text(code + ports, encoding="utf-8")
    (folder / "data.c").write_text(data, encoding="utf-8")
    progress("build with emx-onnx-cgen")
    cache = str(scratch / "zig")
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", "model.wasm", "model.c", "data.c"]
    done = subprocess.run(
        command,
        cwd=folder,
        env={"ZIG_LOCAL_CACHE_DIR": cache, "ZIG_GLOBAL_CACHE_DIR": cache, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
        said = next((line for line in done.stderr.splitlines() if "error:" in line), "see the log")
        raise StageError(f"the C of emx-onnx-cgen {VERSION} does not compile: {said}", OTHER)
    return (folder / "model.wasm").read_bytes()


def _size(port: onnx_files.Port) -> int:
    if port.element_type != onnx_files.FLOAT or None in port.shape:
        raise StageError(f"emx-onnx-cgen is used for float32 of fixed shape, and {port.name} is not", OTHER)
    return prod(length or 0 for length in port.shape)
