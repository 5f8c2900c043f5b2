"""Quantized fully connected layers by the fast kernels."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels import packing
from recast.stages.compilers.onnx_c.kernels.base import ANY, PLAIN, Call, Kernel, Needs
from recast.stages.compilers.onnx_c.kernels.float32.fast_dense import rows_of
from recast.stages.compilers.onnx_c.kernels.int8.int8_conv import requantization
from recast.stages.compilers.onnx_c.syntax.loops import loop


class QGemm(Kernel):
    """A quantized Gemm with constant weights, row by row."""

    name = "int8_dense"
    ops = ("QGemm",)

    def needs(self, node: Node, graph: Graph) -> Needs:
        return Needs((PLAIN, ANY, ANY, ANY), (PLAIN,))

    def emit(self, call: Call) -> str:
        node = call.node
        weights, bias, scale = (call.graph.constant(name) for name in node.inputs[1:4])
        assert weights is not None and bias is not None and scale is not None
        by_output = weights if node.attributes.get("transB", 0) else weights.T
        (n, k), rows = by_output.shape, rows_of(node, call.graph)
        call.macs = rows * n * k
        call.include("int8_dense.h")
        packed = call.weights(packing.int8_dense(by_output))
        b, m = (call.weights(packing.filled(values, 8)) for values in (bias, scale))
        x, factors = call.argument(node.inputs[0]), requantization(node, m)
        return loop("i", rows, f"rc_int8_dense({k}, {n}, {x} + i * {k}, {packed}, {b}, {factors}, y0 + i * {n});")
