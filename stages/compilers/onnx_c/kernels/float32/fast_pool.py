"""Pooling of images in float, and their mean, by the fast kernels."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import Call
from recast.stages.compilers.onnx_c.kernels.float32.fast_epilogue import second_pass
from recast.stages.compilers.onnx_c.kernels.pooling import ImagePool, pooling
from recast.stages.compilers.onnx_c.options import Options


class FastPool(ImagePool):
    """MaxPool, AveragePool, the global pools, and ReduceMean over rows and columns, of images."""

    name = "fast_pool"
    ops = ("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "ReduceMean")
    header, function, views = "pooling.h", "rc_pool", ("rc_source", "rc_target")

    def matches(self, node: Node, graph: Graph, options: Options) -> bool:
        if node.op not in self.ops or graph.tensors[node.inputs[0]].dtype != "float32":
            return False
        return pooling(node.op, node, graph) is not None

    def emit(self, call: Call) -> str:
        shape = pooling(call.node.op, call.node, call.graph)
        assert shape is not None
        return self.over_batch(call, shape) + second_pass(call, tuple(call.node.epilogue))
