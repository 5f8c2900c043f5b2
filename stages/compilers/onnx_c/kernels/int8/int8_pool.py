"""Quantized pools over images by the fast kernels."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import Call
from recast.stages.compilers.onnx_c.kernels.pooling import ImagePool, pooling
from recast.stages.compilers.onnx_c.options import Options
from recast.stages.compilers.onnx_c.syntax.expressions import number


class QPool(ImagePool):
    """A quantized pool, whichever of them `kind` names."""

    name = "int8_pool"
    ops = ("QPool",)
    header, function, views = "int8_pooling.h", "rc_int8_pool", ("rc_int8_source", "rc_int8_target")

    def matches(self, node: Node, graph: Graph, options: Options) -> bool:
        return node.op in self.ops and pooling(node.attributes["kind"], node, graph) is not None

    def emit(self, call: Call) -> str:
        attributes = call.node.attributes
        shape = pooling(attributes["kind"], call.node, call.graph)
        assert shape is not None
        low, high = str(attributes["low"]), str(attributes["high"])
        return self.over_batch(call, shape, number(attributes["factor"]), low, high)
