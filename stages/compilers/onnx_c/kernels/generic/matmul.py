"""Gemm and MatMul over operands of any layout, batched and broadcast as ONNX says."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel
from recast.stages.compilers.onnx_c.kernels.epilogue import finish
from recast.stages.compilers.onnx_c.syntax.expressions import number
from recast.stages.compilers.onnx_c.syntax.loops import View, broadcast, loop, nest, variables, view


class MatMul(Kernel):
    """A row of accumulators per output row: the inner loop runs along the second operand's rows."""

    name = "matmul"
    ops = ("Gemm", "MatMul")

    def refusal(self, node: Node, graph: Graph) -> str:
        dtype = graph.tensors[node.inputs[0]].dtype
        return "" if dtype == "float32" else f"{dtype} (supported: float32)"

    def emit(self, call: Call) -> str:
        import numpy as np

        node = call.node
        y = call.tensor(node.outputs[0])
        a, b = _factors(call)
        matrix = call.tensor(node.inputs[1])
        if matrix.value is not None and len(matrix.shape) == 2:
            # so that the inner loop runs along a row
            transposed = node.op == "Gemm" and node.attributes.get("transB", 0)
            packed = np.ascontiguousarray(matrix.value.T if transposed else matrix.value)
            b.view = View(call.weights(packed), (*(0,) * (len(b.shape) - 2), b.shape[-1], 1))
        rows, columns, inner = a.shape[-2], b.shape[-1], a.shape[-1]
        call.macs = max(1, y.size) * inner
        batch = variables(len(a.shape) - 2, "b")
        alpha = float(node.attributes.get("alpha", 1.0))
        right = b.view.at([*batch, "k", "j"])
        body = f"const float value = {a.view.at([*batch, 'i', 'k'])};\n"
        body += loop("j", columns, f"acc[j] += value * {right};")
        text = call.accumulators(columns) + loop("j", columns, "acc[j] = 0.0f;") + "\n" + loop("k", inner, body)
        # a factor of one axis has no row (or no column) in the output
        axes = [*batch, *(["i"] if a.kept else []), *(["j"] if b.kept else [])]
        store = ["float v = acc[j];"]
        if alpha != 1.0:
            store.append(f"v *= {number(alpha)};")
        if node.op == "Gemm" and node.input(2):
            beta = float(node.attributes.get("beta", 1.0))
            bias = broadcast(call.tensor(node.inputs[2]), call.argument(node.inputs[2]), y.shape).at(axes)
            store.append(f"v += {bias if beta == 1.0 else f'{number(beta)} * {bias}'};")
        store += [*finish(call, "v", axes, y.shape), f"{view(y, 'y0').at(axes)} = v;"]
        text += "\n" + loop("j", columns, "\n".join(store))
        return nest([*batch, "i"], [*a.shape[:-2], rows], text)


class _Factor:
    """A factor as a stack of matrices: its shape and view; `kept` if its row (column) is an axis of the output."""

    def __init__(self, shape: tuple[int, ...], strides: View, kept: bool) -> None:
        self.shape, self.view, self.kept = shape, strides, kept


def _factors(call: Call) -> tuple[_Factor, _Factor]:
    node = call.node
    a, b = call.tensor(node.inputs[0]), call.tensor(node.inputs[1])
    left, right = call.argument(a.name), call.argument(b.name)
    if node.op == "Gemm":
        pairs = []
        for tensor, pointer, flag in ((a, left, "transA"), (b, right, "transB")):
            step = -1 if node.attributes.get(flag, 0) else 1
            pairs.append(_Factor(tensor.shape[::step], View(pointer, tensor.strides[::step]), True))
        return pairs[0], pairs[1]
    import numpy as np

    shape_a = (1, *a.shape) if len(a.shape) == 1 else a.shape
    shape_b = (*b.shape, 1) if len(b.shape) == 1 else b.shape
    strides_a = (0, *a.strides) if len(a.shape) == 1 else a.strides
    strides_b = (*b.strides, 0) if len(b.shape) == 1 else b.strides
    batch = np.broadcast_shapes(shape_a[:-2], shape_b[:-2])
    factors = []
    for shape, strides, tensor, pointer in ((shape_a, strides_a, a, left), (shape_b, strides_b, b, right)):
        missing = len(batch) + 2 - len(shape)
        steps = [0 if n == 1 else step for n, step in zip(shape[:-2], strides[:-2], strict=True)]
        whole = (*(0,) * missing, *steps, *strides[-2:])
        factors.append(_Factor((*batch, *shape[-2:]), View(pointer, whole), len(tensor.shape) > 1))
    return factors[0], factors[1]
