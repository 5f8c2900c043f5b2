"""The candidates, in the order in which they are asked: the first kernel that matches a node computes it."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import Kernel
from recast.stages.compilers.onnx_c.kernels.float32 import fast_conv, fast_dense, fast_pool
from recast.stages.compilers.onnx_c.kernels.generic import (
    conv,
    conv_transpose,
    copies,
    einsum,
    elementwise,
    indexed,
    matmul,
    normalization,
    pool,
    quantize,
    recurrent,
    reduction,
    resize,
)
from recast.stages.compilers.onnx_c.kernels.int8 import int8_conv, int8_dense, int8_pointwise, int8_pool
from recast.stages.compilers.onnx_c.options import Options, Unsupported

FAST: tuple[Kernel, ...] = (
    fast_conv.FastConv(),
    fast_dense.FastDense(),
    fast_pool.FastPool(),
    int8_conv.QConv(),
    int8_dense.QGemm(),
    int8_pool.QPool(),
    int8_pointwise.Pointwise(),
)
"""kernels for particular shapes"""

GENERIC: tuple[Kernel, ...] = (
    conv.Conv(),
    conv_transpose.ConvTranspose(),
    matmul.MatMul(),
    einsum.Einsum(),
    recurrent.Recurrent(),
    pool.Pool(),
    copies.Reshape(),
    copies.Convert(),
    copies.Transpose(),
    copies.Blocks(),
    copies.Expand(),
    copies.Concat(),
    copies.Split(),
    copies.Slice(),
    indexed.Pad(),
    indexed.Gather(),
    indexed.GatherElements(),
    indexed.GatherND(),
    indexed.OneHot(),
    resize.Resize(),
    reduction.Reduce(),
    reduction.LogSumExp(),
    reduction.CumSum(),
    reduction.ArgExtreme(),
    normalization.Softmax(),
    normalization.LayerNormalization(),
    normalization.GroupNormalization(),
    normalization.LocalResponse(),
    normalization.BatchNormalization(),
    quantize.QuantizeLinear(),
    quantize.DequantizeLinear(),
    elementwise.Elementwise(),
)
"""kernels for any shape, one for each operator"""

CANDIDATES = (*FAST, *GENERIC)


def supported() -> list[str]:
    """The names of the ONNX operators the compiler knows."""
    return sorted({op for kernel in GENERIC for op in kernel.ops} - {copies.CONVERT})


def select(graph: Graph, options: Options) -> dict[str, Kernel]:
    """A kernel for each node, by the name of its first output; Unsupported names every node that has none."""
    chosen, problems = {}, []
    for node in graph.nodes:
        kernel = next((each for each in CANDIDATES if each.matches(node, graph, options)), None)
        if kernel:
            chosen[node.outputs[0]] = kernel
        else:
            problems.append(f"node {node.name!r} ({node.op}, opset {node.opset}){_reason(node, graph)}")
    if problems:
        known = f"the operators it knows are {', '.join(supported())}"
        raise Unsupported([*problems[:-1], f"{problems[-1]}; {known}"])
    return chosen


def _reason(node: Node, graph: Graph) -> str:
    reasons = (kernel.refusal(node, graph) for kernel in GENERIC if node.op in kernel.ops)
    return next((f": {reason}" for reason in reasons if reason), "")
