"""Quantized fully connected layers, pools and sums by the fast kernels, and the way to and from float."""

from __future__ import annotations

from dataclasses import replace

from stages.wasm.compiler import packing
from stages.wasm.compiler.expressions import number
from stages.wasm.compiler.fast_dense import rows_of
from stages.wasm.compiler.fast_pool import Pooling, pooling, target_strides
from stages.wasm.compiler.graph import Graph, Node
from stages.wasm.compiler.int8_conv import requantization
from stages.wasm.compiler.kernel import ANY, CHANNELS_LAST, PLAIN, Call, Kernel, Needs
from stages.wasm.compiler.loops import View, collapse, loop, nest, variables, view


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


class QPool(Kernel):
    """A quantized pool over images, whichever of them `kind` names."""

    name = "int8_pool"
    ops = ("QPool",)

    def matches(self, node: Node, graph: Graph, options: object) -> bool:
        return node.op in self.ops and _pooling(node, graph) is not None

    def needs(self, node: Node, graph: Graph) -> Needs:
        return Needs((CHANNELS_LAST, *(ANY,) * (len(node.inputs) - 1)), (CHANNELS_LAST,))

    def emit(self, call: Call) -> str:
        node, shape = call.node, _pooling(call.node, call.graph)
        assert shape is not None
        call.include("int8_pooling.h")
        x, y = call.tensor(node.inputs[0]), call.tensor(node.outputs[0])
        source = f"(rc_int8_source){{{call.argument(x.name)} + n * {x.strides[0]}, {x.strides[2]}, {x.strides[3]}}}"
        target = f"(rc_int8_target){{y0 + n * {y.strides[0]}, {', '.join(map(str, target_strides(y.strides)))}}}"
        bounds = f"{number(node.attributes['factor'])}, {node.attributes['low']}, {node.attributes['high']}"
        return loop(
            "n", y.shape[0], f"rc_int8_pool((rc_pool_shape){shape.c}, {shape.kind}, {source}, {bounds}, {target});"
        )


def _pooling(node: Node, graph: Graph) -> Pooling | None:
    return pooling(replace(node, op=node.attributes["kind"]), graph)


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
