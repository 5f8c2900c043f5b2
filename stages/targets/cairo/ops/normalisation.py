"""BatchNormalization that is not folded into the layer before it: each channel times a factor, plus a shift."""

from __future__ import annotations

import math

from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ops.linear import Block, Linear
from recast.stages.targets.cairo.ops.operation import Read, Source, Unsupported
from recast.stages.targets.cairo.ops.weighted import Weighted


class BatchNormalization(Weighted):
    """scale (x - mean) / sqrt(variance + epsilon) + bias, as one factor and one bias for each channel."""

    def read(self, source: Source, fmt: Format) -> Read:
        """Factor and bias, from ONNX's four constants."""
        import numpy as np

        if sorted(source.constants) != [1, 2, 3, 4] or source.attributes.get("training_mode", 0):
            raise Unsupported("its statistics must be constants")
        scale, bias, mean, variance = (np.asarray(source.constants[index], np.float64) for index in (1, 2, 3, 4))
        factor = scale / np.sqrt(variance + source.attributes.get("epsilon", 1e-5))
        return Read(weights={"factor": factor}, biases={"bias": bias - mean * factor})

    def linear(self, node: Node, program: Program) -> Linear:
        """One block for each channel, each patch a single element."""
        import numpy as np

        channels, *rest = program.shapes[node.output]
        positions = math.prod(rest)
        line = rest[-1] if rest else 1
        together = tuple(tuple(range(start, start + line)) for start in range(0, positions, line))
        elements = np.arange(channels * positions).reshape(channels, positions, 1)
        factors = node.constants["factor"]
        blocks = [
            Block(elements[channel], factors[channel].reshape(1, 1), elements[channel], together)
            for channel in range(channels)
        ]
        return Linear(tuple(blocks), np.repeat(self.bias(node, program), positions), program.format.fraction)


OPERATIONS = {"BatchNormalization": BatchNormalization()}
