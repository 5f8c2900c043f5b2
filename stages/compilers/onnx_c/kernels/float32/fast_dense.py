"""Gemm and MatMul in float with a constant second factor, by the fast kernels."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels import packing
from recast.stages.compilers.onnx_c.kernels.base import ANY, PLAIN, Call, Kernel, Needs
from recast.stages.compilers.onnx_c.kernels.float32.fast_epilogue import fused, second_pass
from recast.stages.compilers.onnx_c.options import Options
from recast.stages.compilers.onnx_c.syntax.loops import loop

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS_BY_TILES = 4  # from so many rows on, a weight read once serves the four rows of a tile


class FastDense(Kernel):
    """Rows by a constant matrix, with a bias per column."""

    name = "fast_dense"
    ops = ("Gemm", "MatMul")

    def matches(self, node: Node, graph: Graph, options: Options) -> bool:
        return node.op in self.ops and graph.tensors[node.inputs[0]].dtype == "float32" and is_dense(node, graph)

    def needs(self, node: Node, graph: Graph) -> Needs:
        operands = fused(node, graph).operands(PLAIN)
        return Needs((PLAIN, *(ANY,) * (len(node.inputs) - 1)), (PLAIN,), operands)

    def emit(self, call: Call) -> str:
        node = call.node
        weights, bias = dense_constants(node, call.graph)
        (n, k), rows = weights.shape, rows_of(node, call.graph)
        call.macs = rows * n * k
        steps = fused(node, call.graph)
        residual = call.argument(steps.residual) if steps.residual else ""
        x, b = call.argument(node.inputs[0]), call.weights(packing.filled(bias, 8))
        if rows >= ROWS_BY_TILES:
            call.include("direct_conv.h")
            other = f"{{{residual or 0}, {rows * n}, {n}}}"
            # the rows are the pixels of a 1x1 convolution
            text = (
                f"rc_direct_conv((rc_conv_shape){{{k}, {n}, 1, 1, 1, 1, 1, 1, 1, {rows}}}, "
                f"(rc_source){{{x}, {rows * k}, {k}}}, {call.weights(packing.direct(weights[:, :, None, None]))}, {b}, "
                f"(rc_source){other}, (rc_activation){steps.activation}, (rc_target){{y0, {rows * n}, {n}}});"
            )
        else:
            call.include("dense.h")
            other = f"{residual} + i * {n}" if residual else "0"
            text = loop(
                "i",
                rows,
                f"rc_dense({k}, {n}, {x} + i * {k}, {call.weights(packing.dense(weights))}, {b}, {other}, "
                f"(rc_activation){steps.activation}, y0 + i * {n});",
            )
        return text + second_pass(call, steps.rest)


def is_dense(node: Node, graph: Graph) -> bool:
    """Whether a Gemm or MatMul is rows by a constant matrix, plus a constant bias per column if any."""
    x, w = graph.tensors[node.inputs[0]], graph.constant(node.inputs[1])
    if w is None or w.ndim != 2 or len(x.shape) < 2 or node.attributes.get("transA", 0):
        return False
    if not node.input(2):
        return True
    bias, columns = graph.constant(node.input(2)), graph.tensors[node.outputs[0]].shape[-1]
    return bias is not None and bias.size in (1, columns) and (bias.ndim == 0 or bias.shape[-1] == bias.size)


def rows_of(node: Node, graph: Graph) -> int:
    return prod(graph.tensors[node.inputs[0]].shape[:-1])


def dense_constants(node: Node, graph: Graph) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights (n, k) and bias (n) with alpha and beta in them."""
    import numpy as np

    weights = graph.constant(node.inputs[1])
    assert weights is not None
    by_output = weights if node.attributes.get("transB", 0) else weights.T
    bias = graph.constant(node.input(2))
    columns = np.zeros(len(by_output), weights.dtype)
    if bias is not None:
        columns = columns + bias.reshape(-1)
    alpha, beta = (np.float32(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    return (by_output if alpha == 1 else by_output * alpha), (columns if beta == 1 else columns * beta)
