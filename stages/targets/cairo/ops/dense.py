"""Gemm and MatMul with constant weights."""

from __future__ import annotations

import math

from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ops.linear import Block, Linear
from recast.stages.targets.cairo.ops.operation import Read, Source, Unsupported
from recast.stages.targets.cairo.ops.weighted import Weighted


class Dense(Weighted):
    """y = x W + b over the last axis; Gemm's alpha and beta are folded into W and b."""

    def read(self, source: Source, fmt: Format) -> Read:
        """W (inputs, outputs) and b, from whichever way round ONNX has them."""
        import numpy as np

        if len(source.inputs) != 1 or 1 not in source.constants:
            raise Unsupported("its second input must be a constant weight")
        w = np.asarray(source.constants[1], np.float64)
        bias = np.zeros(w.shape[-1])
        if source.op == "Gemm":
            if source.attributes.get("transA", 0):
                raise Unsupported("transA is not possible")
            w = w.T if source.attributes.get("transB", 0) else w
            w = w * source.attributes.get("alpha", 1.0)
            bias = np.zeros(w.shape[1])
            if 2 in source.constants:
                c = np.asarray(source.constants[2], np.float64) * source.attributes.get("beta", 1.0)
                bias = np.broadcast_to(c, (1, w.shape[1])).reshape(-1)
        if w.ndim != 2:
            raise Unsupported(f"its weight has {w.ndim} axes; 2 are possible")
        return Read(weights={"weight": w}, biases={"bias": bias})

    def linear(self, node: Node, program: Program) -> Linear:
        """One patch per vector of the last axis."""
        import numpy as np

        weight, bias = node.constants["weight"], self.bias(node, program)
        taps, rows = weight.shape
        vectors = math.prod(program.shapes[node.inputs[0]]) // taps
        patches = np.arange(vectors * taps).reshape(vectors, taps)
        outputs = np.arange(vectors * rows).reshape(vectors, rows)
        together = tuple((vector,) for vector in range(vectors))
        block = Block(patches, np.ascontiguousarray(weight.T), outputs, together)
        return Linear((block,), np.tile(bias, vectors), program.format.fraction)


OPERATIONS = {"Gemm": Dense(), "MatMul": Dense()}
