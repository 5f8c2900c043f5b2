"""C text for nests of loops over tensors of any strides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recast.stages.compilers.onnx_c.graph import Tensor


@dataclass(frozen=True)
class View:
    """A strided window on an array: element at indices i is `pointer[offset + sum(i * strides)]`."""

    pointer: str
    strides: tuple[int, ...]
    offset: int = 0

    def at(self, variables: Sequence[str]) -> str:
        """The C expression of the element at these loop variables."""
        return f"{self.pointer}[{self.index(variables)}]"

    def index(self, variables: Sequence[str]) -> str:
        """The C expression of the element's place."""
        return sum_of(
            [term(variable, stride) for variable, stride in zip(variables, self.strides, strict=True)], self.offset
        )


def view(tensor: Tensor, pointer: str) -> View:
    """All of a tensor; `pointer` points to the element at index 0, 0, ..."""
    return View(pointer, tensor.strides)


def broadcast(tensor: Tensor, pointer: str, shape: Sequence[int]) -> View:
    """A tensor as an operand of this larger shape, by ONNX's (NumPy's) multidirectional broadcasting."""
    missing = len(shape) - len(tensor.shape)
    strides = [0] * missing
    strides += [0 if n == 1 else stride for n, stride in zip(tensor.shape, tensor.strides, strict=True)]
    return View(pointer, tuple(strides))


def term(variable: str, factor: int) -> str:
    """`variable * factor`, "" if that is nothing."""
    if factor == 0 or variable == "0":
        return ""
    return variable if factor == 1 else f"{variable} * {factor}"


def sum_of(terms: Sequence[str], constant: int = 0) -> str:
    """The terms that are there and a constant, added up in C."""
    text = " + ".join(part for part in terms if part)
    if not text:
        return str(constant)
    return text + (f" + {constant}" if constant > 0 else f" - {-constant}" if constant < 0 else "")


def loop(variable: str, extent: int, body: str, step: int = 1) -> str:
    """`for (int variable = 0; ...) { body }`."""
    advance = f"++{variable}" if step == 1 else f"{variable} += {step}"
    return f"for (int {variable} = 0; {variable} < {extent}; {advance}) {{\n{indent(body)}\n}}"


def nest(variables: Sequence[str], extents: Sequence[int], body: str, independent: bool = False) -> str:
    """Loops, the first variable outermost; `independent` says that no iteration of the innermost reads another's."""
    for depth, (variable, extent) in enumerate(reversed(list(zip(variables, extents, strict=True)))):
        body = loop(variable, extent, body)
        if independent and depth == 0:
            body = f"RC_INDEPENDENT\n{body}"
    return body


def indent(text: str) -> str:
    return "\n".join(f"  {line}" if line else line for line in text.split("\n"))


def collapse(shape: Sequence[int], views: Sequence[View]) -> tuple[list[int], list[View]]:
    """Fewer and longer loops with the same accesses, in the memory order of the first view.

    Axes of length 1 go; two axes become one where in every view the outer stride is the inner one times the length.
    """
    axes = [axis for axis, n in enumerate(shape) if n != 1]
    axes.sort(key=lambda axis: (-views[0].strides[axis], axis))
    merged: list[tuple[int, list[int]]] = []
    for axis in axes:
        length, strides = shape[axis], [each.strides[axis] for each in views]
        if merged and all(outer == stride * length for outer, stride in zip(merged[-1][1], strides, strict=True)):
            merged[-1] = (merged[-1][0] * length, strides)
        else:
            merged.append((length, strides))
    extents = [length for length, _ in merged]
    slim = [View(each.pointer, tuple(strides[i] for _, strides in merged), each.offset) for i, each in enumerate(views)]
    return extents, slim


def variables(count: int, prefix: str = "i") -> list[str]:
    """Names of loop variables, outermost first."""
    return [f"{prefix}{index}" for index in range(count)]


def along(tensor: Tensor, pointer: str, axis: int, rank: int) -> View:
    """A vector, or a single number, as an operand of `rank` axes that varies along one of them."""
    strides = [0] * rank
    if tensor.size > 1:
        strides[axis] = max(tensor.strides)
    return View(pointer, tuple(strides))
