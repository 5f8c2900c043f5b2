"""model.c: the functions of the kernels, the static memory, and the function that runs them in order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.compilers.onnx_c import KERNELS
from recast.stages.compilers.onnx_c.codegen.exports import exports
from recast.stages.compilers.onnx_c.codegen.model_h import comment
from recast.stages.compilers.onnx_c.graph import C_TYPES, ITEM_SIZE, Graph
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel
from recast.stages.compilers.onnx_c.memory.clearing import clear_border
from recast.stages.compilers.onnx_c.memory.memory_plan import Plan
from recast.stages.compilers.onnx_c.memory.weights import Weights
from recast.stages.compilers.onnx_c.syntax.loops import indent, nest

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class NodeCode:
    """One node as C: the kernel that computes it, the body of its function, and what that asks for."""

    call: Call
    kernel: Kernel
    body: str


def model_c(graph: Graph, codes: Sequence[NodeCode], memory: Plan, weights: Weights, prefix: str) -> str:
    """The functions, the static memory and the function that runs them in order; constants go to `weights`."""
    functions = _Functions(prefix)
    lines: list[str] = []
    first: list[str] = []
    addresses = _Addresses(graph, memory, weights, prefix)
    for step, code in enumerate(codes):
        call, kernel = code.call, code.kernel
        if step in memory.skipped:
            continue
        for name in memory.cleared.get(step, ()):
            clear = functions.named("clear_border", f"{graph.tensors[name].c_type} *y0", clear_border(graph, name))
            lines.append(f"{clear}({addresses.tensor(name)});")
        parameters, arguments = addresses.passed(call, code.body, step, kernel.in_place)
        name = functions.named(kernel.name, ", ".join(parameters) or "void", code.body)
        lines.append(f"{name}({', '.join(arguments)}); /* {comment(call.node.name)} ({call.node.op}) */")
        if call.preparation:
            text = "\n".join(call.preparation)
            parameters, arguments = addresses.passed(call, text, step, in_place=False, prepares=True)
            name = functions.named(f"prepare_{kernel.name}", ", ".join(parameters), text)
            first.append(f"{name}({', '.join(arguments)});")
    for index, name in enumerate(graph.outputs):
        if memory.homes.get(name) is None or memory.homes[name].index != index or memory.homes[name].kind != "output":
            tensor = graph.tensors[name]
            body = nest(["i"], [tensor.size], "y0[i] = x0[i];")
            copy = functions.named("copy", f"const {tensor.c_type} *x0, {tensor.c_type} *y0", body)
            lines.append(f"{copy}({addresses.tensor(name)}, output{index});")
    if first:
        flag = f"{prefix}_prepared"
        lines.insert(0, f"if (!{flag}) {{\n{indent(chr(10).join(first))}\n  {flag} = 1;\n}}")
    headers: dict[str, str] = {}
    for header in ("base.h", *(header for code in codes for header in code.call.includes)):
        _gather(header, headers)
    parts = [
        '/* Generated from an ONNX model; do not edit. C99, no allocation. See model.h. */\n#include "model.h"\n',
        *headers.values(),
        *(
            f"extern const {c_type} {prefix}_weights_{c_type}[{len(content) // ITEM_SIZE[c_type]}];\n"
            for c_type, content in weights.packed().items()
        ),
        # the slack lets a SIMD kernel read, not use, what lies behind a buffer
        *(
            f"static {c_type} {prefix}_memory_{c_type}[{elements + 64 // ITEM_SIZE[c_type]}] RC_ALIGNED;\n"
            for c_type, elements in memory.pools.items()
        ),
        *([f"static int {prefix}_prepared;\n"] if first else []),
        *functions.texts,
        f"void {prefix}_run({', '.join(_signature(graph))}) {{\n{indent(chr(10).join(lines))}\n}}\n",
        exports(graph, prefix),
    ]
    return "\n".join(parts)


def _gather(header: str, found: dict[str, str]) -> None:
    """The text of a file of `kernels/`, after those that it includes: each once."""
    if header in found:
        return
    lines = []
    for line in (KERNELS.path / header).read_text(encoding="utf-8").splitlines(keepends=True):
        included = re.fullmatch(r'#include "(\w+\.h)"\n', line)
        if included:
            _gather(included[1], found)
        else:
            lines.append(line)
    found[header] = "".join(lines)


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

    def passed(
        self, call: Call, body: str, step: int, in_place: bool, prepares: bool = False
    ) -> tuple[list[str], list[str]]:
        """Parameters and arguments for those of x0.., y0.., w0.., s0.., p0.. that the body names.

        `prepares`: the body is the one that fills p0...
        """
        used = set(re.findall(r"\b[xywsp]\d+\b", body))
        parameters, arguments = [], []
        for index, name in enumerate(call.reads):
            if f"x{index}" in used:
                parameters.append(f"const {call.tensor(name).c_type} *x{index}")
                arguments.append(self.tensor(name))
        for index, name in enumerate(call.outputs):
            if f"y{index}" in used:
                # in place, the output is an input's memory
                parameters.append(f"{call.tensor(name).c_type} *{'' if in_place else 'restrict '}y{index}")
                arguments.append(self.tensor(name))
        for index, array in enumerate(call.constants):
            if f"w{index}" in used:
                parameters.append(f"const {C_TYPES[str(array.dtype)]} *w{index}")
                arguments.append(self.constant(array))
        pools = {"s": (self.memory.scratches, ""), "p": (self.memory.lasting, "" if prepares else "const ")}
        for letter, (buffers, const) in pools.items():
            for index, buffer in enumerate(buffers.get(step, [])):
                if f"{letter}{index}" in used:
                    parameters.append(f"{const}{buffer.c_type} *restrict {letter}{index}")
                    arguments.append(f"{self.prefix}_memory_{buffer.c_type} + {buffer.offset}")
        return parameters, arguments


def _signature(graph: Graph) -> list[str]:
    inputs = [f"const {graph.tensors[name].c_type} *input{i}" for i, name in enumerate(graph.inputs)]
    return inputs + [f"{graph.tensors[name].c_type} *output{i}" for i, name in enumerate(graph.outputs)]
