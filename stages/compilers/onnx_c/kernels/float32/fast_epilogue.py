"""What of an epilogue the fast kernels do themselves, and a second pass for the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from recast.stages.compilers.onnx_c.graph import Graph, Node, Step, Tensor
from recast.stages.compilers.onnx_c.kernels.base import ANY, Call, Need
from recast.stages.compilers.onnx_c.kernels.epilogue import statements
from recast.stages.compilers.onnx_c.syntax.expressions import number
from recast.stages.compilers.onnx_c.syntax.loops import broadcast, collapse, nest, variables, view


@dataclass(frozen=True)
class Fused:
    """The steps of a node's epilogue: a residual and an activation in the kernel, the others after it."""

    residual: str
    """the tensor added first, of the output's shape; "" for none"""
    activation: str
    """the C initialiser of an `rc_activation`"""
    rest: tuple[Step, ...]

    def operands(self, layout: Need) -> tuple[Need, ...]:
        """The layout each operand of the epilogue must have, `layout` being the output's."""
        others = tuple(ANY for step in self.rest if step.operand)
        return (layout, *others) if self.residual else others


def fused(node: Node, graph: Graph) -> Fused:
    """A residual of the output's shape, then one activation; whatever follows is left to `second_pass`."""
    steps, residual, activation = list(node.epilogue), "", None
    shape = graph.tensors[node.outputs[0]].shape
    if steps and steps[0].op == "Add" and graph.tensors[steps[0].operand].shape == shape:
        residual = steps.pop(0).operand
    if steps:
        activation = _activation(steps[0])
        if activation:
            steps.pop(0)
    return Fused(residual, activation or "{RC_NO_ACTIVATION, 0, 0}", tuple(steps))


def _activation(step: Step) -> str | None:
    """The initialiser of an operator the kernels know; None for any other."""
    attributes = step.attributes
    if step.op == "Relu":
        return "{RC_RELU, 0, 0}"
    if step.op == "Clip":
        low, high = attributes.get("min"), attributes.get("max")
        limits = (-math.inf if low is None else low, math.inf if high is None else high)
        return f"{{RC_CLIP, {number(limits[0])}, {number(limits[1])}}}"
    if step.op == "LeakyRelu":
        return f"{{RC_LEAKY_RELU, {number(attributes.get('alpha', 0.01))}, 0}}"
    if step.op == "HardSigmoid":
        return f"{{RC_HARD_SIGMOID, {number(attributes.get('alpha', 0.2))}, {number(attributes.get('beta', 0.5))}}}"
    return "{RC_HARD_SWISH, 0, 0}" if step.op == "HardSwish" else None


def second_pass(call: Call, rest: tuple[Step, ...]) -> str:
    """A loop over the whole output that applies the remaining steps in place; "" if there are none."""
    if not rest:
        return ""
    output: Tensor = call.tensor(call.node.outputs[0])
    names = [step.operand for step in rest if step.operand]
    views = [view(output, "y0")]
    views += [broadcast(call.tensor(name), call.argument(name), output.shape) for name in names]
    extents, views = collapse(output.shape, views)
    indices = variables(len(extents))
    elements = [each.at(indices) for each in views]
    lines = [
        f"float v = {elements[0]};",
        *statements(replace(call.node, epilogue=list(rest)), "v", elements[1:]),
        f"{elements[0]} = v;",
    ]
    return "\n" + nest(indices, extents, "\n".join(lines), independent=True)
