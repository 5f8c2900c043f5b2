"""model.h: what a caller includes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from recast.stages.compilers.onnx_c.graph import C_TYPES
from recast.stages.compilers.onnx_c.memory.memory_plan import Plan
from recast.stages.compilers.onnx_c.ports import Port


def model_h(inputs: Sequence[Port], outputs: Sequence[Port], memory: Plan, prefix: str) -> str:
    """What a caller includes: sizes and the one function."""
    upper = prefix.upper()
    lines = [f"#define {upper}_INPUTS {len(inputs)}", f"#define {upper}_OUTPUTS {len(outputs)}"]
    parameters = []
    for kind, ports in (("input", inputs), ("output", outputs)):
        for index, port in enumerate(ports):
            shape = " x ".join(map(str, port.shape)) or "scalar"
            lines.append(f"/* {kind} {index}: {comment(port.name)}, {shape}, {port.dtype}, row major */")
            lines.append(f"#define {upper}_{kind.upper()}{index}_SIZE {port.size}")
            const = "const " if kind == "input" else ""
            parameters.append(f"{const}{C_TYPES[port.dtype]} *{kind}{index}")
    return f"""/* Generated from an ONNX model; do not edit. */
#ifndef {upper}_H
#define {upper}_H
#include <stdint.h>
{chr(10).join(lines)}
#ifdef __cplusplus
extern "C" {{
#endif
/* Compute the outputs from the inputs. Sizes above are in elements; no array may overlap another. Works in
   {memory.size_bytes} bytes of static memory: not to be called again, by a thread or a handler, before it returned. */
void {prefix}_run({", ".join(parameters)});
#ifdef __cplusplus
}}
#endif
#endif
"""


def comment(name: str) -> str:
    """A name from the model as text that is safe in a comment."""
    return re.sub(r"[^A-Za-z0-9_.:+-]", "_", name)
