"""The C of an epilogue: what is done to each element before it is stored."""

from __future__ import annotations

from collections.abc import Sequence

from recast.stages.compilers.onnx_c.graph import Node
from recast.stages.compilers.onnx_c.kernels.base import Call
from recast.stages.compilers.onnx_c.syntax.expressions import BINARY, binary, unary
from recast.stages.compilers.onnx_c.syntax.loops import View, broadcast


def operands(call: Call, shape: Sequence[int]) -> list[View]:
    """The operands of the node's epilogue, in the order of its steps, broadcast to the output's shape."""
    names = [step.operand for step in call.node.epilogue if step.operand]
    return [broadcast(call.tensor(name), call.argument(name), shape) for name in names]


def statements(node: Node, variable: str, elements: Sequence[str]) -> list[str]:
    """The epilogue as statements on a float variable; `elements` are the operands' C expressions at this place."""
    lines, given = [], iter(elements)
    for step in node.epilogue:
        if step.op in BINARY:
            other = next(given)
            a, b = (other, variable) if step.swapped else (variable, other)
            lines.append(f"{variable} = {binary(step.op, a, b, 'float32')};")
        else:
            lines.append(f"{variable} = {unary(step.op, variable, step.attributes, 'float32')};")
    return lines


def finish(call: Call, variable: str, indices: Sequence[str], shape: Sequence[int]) -> list[str]:
    """The epilogue where the loop variables run over the axes of the output's shape."""
    return statements(call.node, variable, [each.at(indices) for each in operands(call, shape)])
