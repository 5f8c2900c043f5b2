"""QuantizeLinear and DequantizeLinear with one scale, or one per index of an axis."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel
from recast.stages.compilers.onnx_c.syntax import expressions
from recast.stages.compilers.onnx_c.syntax.loops import View, along, collapse, nest, variables, view

_QUANTIZED = ("int8", "uint8", "int16", "uint16")


class _Linear(Kernel):
    def refusal(self, node: Node, graph: Graph) -> str:
        x, scale = graph.tensors[node.inputs[0]], graph.tensors[node.inputs[1]]
        if scale.dtype != "float32":
            return f"a scale of {scale.dtype}"
        axis = int(node.attributes.get("axis", 1))
        if node.attributes.get("block_size", 0) or (scale.size > 1 and scale.size != x.shape[axis]):
            return "blocks (supported: one scale, or one per index of an axis)"
        return self.dtype_refusal(x.dtype, graph.tensors[node.outputs[0]].dtype)

    def dtype_refusal(self, source: str, target: str) -> str:
        raise NotImplementedError

    def views(self, call: Call) -> tuple[list[str], list[int], list[View]]:
        """Loop variables, extents and the views y, x, scale and, if there is one, zero point."""
        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        rank = len(x.shape)
        axis = int(node.attributes.get("axis", 1)) % rank if rank else 0
        names = [name for name in node.inputs[1:] if name]
        sides = [along(call.tensor(name), call.argument(name), axis, rank) for name in names]
        extents, views = collapse(x.shape, [view(y, "y0"), view(x, "x0"), *sides])
        return variables(len(extents)), extents, views


class QuantizeLinear(_Linear):
    """saturate(round(x / scale) + zero point), halves to even."""

    name = "quantize"
    ops = ("QuantizeLinear",)

    def dtype_refusal(self, source: str, target: str) -> str:
        if source != "float32" or target not in _QUANTIZED:
            return f"{source} to {target} (supported: float32 to {', '.join(_QUANTIZED)})"
        return ""

    def emit(self, call: Call) -> str:
        indices, extents, views = self.views(call)
        y, x, scale, *zero = [each.at(indices) for each in views]
        dtype = call.tensor(call.node.outputs[0]).dtype
        low, high = expressions.limits(dtype)
        lines = [f"const float v = rintf({x} / {scale}){f' + (float){zero[0]}' if zero else ''};"]
        lines.append(f"{y} = ({dtype}_t)rc_saturate(v, {low}, {high});")
        return nest(indices, extents, "\n".join(lines), independent=True)


class DequantizeLinear(_Linear):
    """(x - zero point) * scale."""

    name = "dequantize"
    ops = ("DequantizeLinear",)

    def dtype_refusal(self, source: str, target: str) -> str:
        if source not in (*_QUANTIZED, "int32") or target != "float32":
            return f"{source} to {target} (supported: {', '.join(_QUANTIZED)}, int32 to float32)"
        return ""

    def emit(self, call: Call) -> str:
        indices, extents, views = self.views(call)
        y, x, scale, *zero = [each.at(indices) for each in views]
        difference = f"(float)({x} - {zero[0]})" if zero else f"(float){x}"
        return nest(indices, extents, f"{y} = {difference} * {scale};", independent=True)
