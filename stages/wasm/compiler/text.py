"""The files of the generated C: model.c, model.h and model_weights.c."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.wasm.compiler.expressions import number
from stages.wasm.compiler.graph import C_TYPES, ITEM_SIZE, Graph
from stages.wasm.compiler.kernel import Call, Kernel
from stages.wasm.compiler.loops import View, indent, nest, variables
from stages.wasm.compiler.plan import Buffer, Plan
from stages.wasm.compiler.ports import Port
from stages.wasm.compiler.weights import Weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

KERNELS = Path(__file__).parent / "kernels"
_NUMPY = {"float": "float32"}


def model_c(
    graph: Graph,
    calls: Sequence[Call],
    bodies: Sequence[str],
    kernels: dict[str, Kernel],
    memory: Plan,
    weights: Weights,
    prefix: str,
) -> str:
    """The functions, the static memory and the function that runs them in order; constants go to `weights`."""
    functions = _Functions(prefix)
    lines: list[str] = []
    addresses = _Addresses(graph, memory, weights, prefix)
    for step, (call, body) in enumerate(zip(calls, bodies, strict=True)):
        if step in memory.skipped:
            continue
        for name in memory.cleared.get(step, ()):
            clear = functions.named("clear_border", f"{graph.tensors[name].c_type} *y0", _clear_border(graph, name))
            lines.append(f"{clear}({addresses.tensor(name)});")
        kernel = kernels[call.node.outputs[0]]
        parameters, arguments = _arguments(call, body, addresses, memory.scratches.get(step, []), kernel.in_place)
        name = functions.named(kernel.name, ", ".join(parameters) or "void", body)
        lines.append(f"{name}({', '.join(arguments)}); /* {_comment(call.node.name)} ({call.node.op}) */")
    for index, name in enumerate(graph.outputs):
        if memory.homes.get(name) is None or memory.homes[name].index != index or memory.homes[name].kind != "output":
            tensor = graph.tensors[name]
            body = nest(["i"], [tensor.size], "y0[i] = x0[i];")
            copy = functions.named("copy", f"const {tensor.c_type} *x0, {tensor.c_type} *y0", body)
            lines.append(f"{copy}({addresses.tensor(name)}, output{index});")
    headers = dict.fromkeys(["base.h", *(header for call in calls for header in call.includes)])
    parts = [
        '/* Generated from an ONNX model; do not edit. C99, no allocation. See model.h. */\n#include "model.h"\n',
        *((KERNELS / header).read_text(encoding="utf-8") for header in headers),
        *(
            f"extern const {c_type} {prefix}_weights_{c_type}[{len(content) // ITEM_SIZE[c_type]}];\n"
            for c_type, content in weights.packed().items()
        ),
        # the slack lets a SIMD kernel read, not use, what lies behind a buffer
        *(
            f"static {c_type} {prefix}_memory_{c_type}[{elements + 64 // ITEM_SIZE[c_type]}] RC_ALIGNED;\n"
            for c_type, elements in memory.pools.items()
        ),
        *functions.texts,
        f"void {prefix}_run({', '.join(_signature(graph))}) {{\n{indent(chr(10).join(lines))}\n}}\n",
        _exports(graph, prefix),
    ]
    return "\n".join(parts)


def model_h(inputs: Sequence[Port], outputs: Sequence[Port], memory: Plan, prefix: str) -> str:
    """What a caller includes: sizes and the one function."""
    upper = prefix.upper()
    lines = [f"#define {upper}_INPUTS {len(inputs)}", f"#define {upper}_OUTPUTS {len(outputs)}"]
    parameters = []
    for kind, ports in (("input", inputs), ("output", outputs)):
        for index, port in enumerate(ports):
            shape = " x ".join(map(str, port.shape)) or "scalar"
            lines.append(f"/* {kind} {index}: {_comment(port.name)}, {shape}, {port.dtype}, row major */")
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


def weights_c(weights: dict[str, bytes], prefix: str) -> bytes:
    """The constants as C99 arrays, eight to a line; every float is written so that it reads back exactly."""
    import numpy as np

    parts = ["/* Generated from an ONNX model; do not edit. */\n#include <stdint.h>\n"]
    for c_type, content in weights.items():
        values = np.frombuffer(content, np.dtype(_NUMPY.get(c_type, c_type.removesuffix("_t"))).newbyteorder("<"))
        if c_type == "float" and not np.isfinite(values).all():
            parts.append("#include <math.h>\n")
        if c_type == "float":
            texts = [number(v) if not np.isfinite(v) else f"{v:.9e}f" for v in values.tolist()]
        else:
            texts = [number(v, c_type) for v in values.tolist()]
        rows = [", ".join(texts[i : i + 8]) for i in range(0, len(texts), 8)]
        # a declaration first: some compilers warn of an external array without one
        parts.append(f"extern const {c_type} {prefix}_weights_{c_type}[{len(texts)}];\n")
        parts.append(
            f"const {c_type} {prefix}_weights_{c_type}[{len(texts)}] = {{\n{(',' + chr(10)).join(rows)}\n}};\n"
        )
    return "".join(parts).encode()


class _Functions:
    """Static functions; equal ones are written once."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.texts: list[str] = []
        self._names: dict[tuple[str, str, str], str] = {}

    def named(self, kernel: str, parameters: str, body: str) -> str:
        key = (kernel, parameters, body)
        if key not in self._names:
            name = f"{self.prefix}_{kernel}_{len(self._names)}"
            self._names[key] = name
            self.texts.append(f"static void {name}({parameters}) {{\n{indent(body)}\n}}\n")
        return self._names[key]


class _Addresses:
    """C expressions of the place of each tensor's element at index 0, 0, ..."""

    def __init__(self, graph: Graph, memory: Plan, weights: Weights, prefix: str) -> None:
        self.graph, self.memory, self.weights, self.prefix = graph, memory, weights, prefix

    def tensor(self, name: str) -> str:
        tensor = self.graph.tensors[name]
        home = self.memory.homes.get(name)
        if home is None:
            if tensor.value is None:
                raise ValueError(f"{name} has no memory")
            return self.constant(tensor.value)
        if home.buffer:
            return f"{self.prefix}_memory_{tensor.c_type} + {home.buffer.offset + tensor.offset}"
        return f"{home.kind}{home.index}"

    def constant(self, value: NDArray[Any]) -> str:
        c_type, offset = self.weights.add(value)
        return f"{self.prefix}_weights_{c_type} + {offset}"


def _arguments(
    call: Call, body: str, addresses: _Addresses, scratches: Sequence[Buffer], in_place: bool
) -> tuple[list[str], list[str]]:
    """Parameters and arguments for those of x0.., y0.., w0.., s0.. that the body names."""
    used = set(re.findall(r"\b[xyws]\d+\b", body))
    parameters, arguments = [], []
    for index, name in enumerate(call.reads):
        if f"x{index}" in used:
            parameters.append(f"const {call.tensor(name).c_type} *x{index}")
            arguments.append(addresses.tensor(name))
    for index, name in enumerate(call.outputs):
        if f"y{index}" in used:
            # in place, the output is an input's memory
            parameters.append(f"{call.tensor(name).c_type} *{'' if in_place else 'restrict '}y{index}")
            arguments.append(addresses.tensor(name))
    for index, array in enumerate(call.constants):
        if f"w{index}" in used:
            parameters.append(f"const {C_TYPES[str(array.dtype)]} *w{index}")
            arguments.append(addresses.constant(array))
    for index, (c_type, _) in enumerate(call.scratches):
        buffer = scratches[index]
        parameters.append(f"{c_type} *restrict s{index}")
        arguments.append(f"{addresses.prefix}_memory_{c_type} + {buffer.offset}")
    return parameters, arguments


def _clear_border(graph: Graph, name: str) -> str:
    """Zero what lies around the interior, by slabs: before and after each axis, outermost axis first."""
    tensor = graph.tensors[name]
    strides, spatial = tensor.strides, len(tensor.shape) - 2
    texts = []
    low = [0, 0, *(-n for n in tensor.border[:spatial])]
    high = [*tensor.shape[:2], *(n + tensor.border[spatial + i] for i, n in enumerate(tensor.shape[2:]))]
    for axis in range(2, 2 + spatial):
        for start, stop in ((low[axis], 0), (tensor.shape[axis], high[axis])):
            if start == stop:
                continue
            begin = [*low[:axis], start, *low[axis + 1 :]]
            extents = [*(h - b for h, b in zip(high[:axis], low[:axis], strict=True)), stop - start]
            extents += [h - b for h, b in zip(high[axis + 1 :], low[axis + 1 :], strict=True)]
            offset = sum(stride * b for stride, b in zip(strides, begin, strict=True))
            indices = variables(len(extents))
            texts.append(nest(indices, extents, f"{View('y0', strides, offset).at(indices)} = 0;"))
        # corners are done: further axes run over the interior of this one
        low[axis], high[axis] = 0, tensor.shape[axis]
    return "\n".join(texts)


def _signature(graph: Graph) -> list[str]:
    inputs = [f"const {graph.tensors[name].c_type} *input{i}" for i, name in enumerate(graph.inputs)]
    return inputs + [f"{graph.tensors[name].c_type} *output{i}" for i, name in enumerate(graph.outputs)]


def _exports(graph: Graph, prefix: str) -> str:
    """The functions of the wasm module, over static inputs and outputs; absent unless RC_EXPORTS is defined."""
    export = "" if prefix == "model" else f"{prefix}_"
    memory, arguments, cases = [], [], {"input": "", "output": ""}
    for kind, names in (("input", graph.inputs), ("output", graph.outputs)):
        for index, name in enumerate(names):
            tensor = graph.tensors[name]
            memory.append(f"static {tensor.c_type} {prefix}_{kind}{index}[{max(1, tensor.size)}] RC_ALIGNED;")
            arguments.append(f"{prefix}_{kind}{index}")
            cases[kind] += f"  if (index == {index}) return {prefix}_{kind}{index};\n"
    lookups = "".join(
        f"""__attribute__((export_name("{export}{kind}"))) void *{prefix}_export_{kind}(int32_t index);
void *{prefix}_export_{kind}(int32_t index) {{
{text}  (void)index;
  return 0;
}}
"""
        for kind, text in cases.items()
    )
    return f"""#if defined(__wasm__) && defined(RC_EXPORTS)
{chr(10).join(memory)}
{lookups}__attribute__((export_name("{export}run"))) int32_t {prefix}_export_run(void);
int32_t {prefix}_export_run(void) {{
  {prefix}_run({", ".join(arguments)});
  return 0;
}}
#endif
"""


def _comment(name: str) -> str:
    """A name from the model as text that is safe in a comment."""
    return re.sub(r"[^A-Za-z0-9_.:+-]", "_", name)
