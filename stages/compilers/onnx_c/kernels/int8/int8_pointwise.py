"""Quantized sums by the fast kernels, and the way to and from float."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import ANY, PLAIN, Call, Kernel, Needs
from recast.stages.compilers.onnx_c.syntax.expressions import number
from recast.stages.compilers.onnx_c.syntax.loops import View, collapse, nest, variables, view


class Pointwise(Kernel):
    """Quantize, Dequantize and QAdd: runs of elements that lie together in all tensors."""

    name = "int8_pointwise"
    ops = ("Quantize", "Dequantize", "QAdd")

    def needs(self, node: Node, graph: Graph) -> Needs:
        # the model's input lies plain: quantizing it so, in long runs, is faster than one channel at a time
        layout = PLAIN if node.inputs[0] in graph.inputs else ANY
        return Needs((layout,) * len(node.inputs), (layout,))

    def emit(self, call: Call) -> str:
        node, output = call.node, call.tensor(call.node.outputs[0])
        call.include("int8_pointwise.h")
        names = [output.name, *node.inputs]
        views = [view(call.tensor(name), "y0" if name == output.name else call.argument(name)) for name in names]
        extents, views = collapse(output.shape, views)
        if not extents or any(each.strides[-1] != 1 for each in views):
            extents, views = [*extents, 1], [View(each.pointer, (*each.strides, 1), each.offset) for each in views]
        *outer, length = extents
        indices = variables(len(outer))
        at = [f"{each.pointer} + {each.index([*indices, '0'])}" for each in views]
        attributes = node.attributes
        if node.op == "Dequantize":
            text = f"rc_dequantize({length}, {at[1]}, {number(attributes['scale'])}, {at[0]});"
        else:
            bounds = f"{attributes['low']}, {attributes['high']}, {at[0]}"
            if node.op == "Quantize":
                text = f"rc_quantize({length}, {at[1]}, {number(attributes['scale'])}, {bounds});"
            else:
                own, other = number(attributes["own"]), number(attributes["other"])
                text = f"rc_int8_add({length}, {at[1]}, {own}, {at[2]}, {other}, {bounds});"
        return nest(indices, outer, text)
