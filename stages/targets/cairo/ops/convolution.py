"""Conv in one or two dimensions, with stride, padding, dilation and groups."""

from __future__ import annotations

import math

from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ops.linear import Block, Linear
from recast.stages.targets.cairo.ops.operation import Read, Source, Unsupported
from recast.stages.targets.cairo.ops.weighted import Weighted
from recast.stages.targets.cairo.ops.windows import read_window, window_elements


class Conv(Weighted):
    """Each output is a sum over a window of all channels of its group; padding is zeros, which are never multiplied."""

    def read(self, source: Source, fmt: Format) -> Read:
        """Window, groups, weights (outputs, channels of a group, *window) and biases."""
        import numpy as np

        if len(source.inputs) != 1 or 1 not in source.constants:
            raise Unsupported("its weight must be a constant")
        weight = np.asarray(source.constants[1], np.float64)
        groups = int(source.attributes.get("group", 1))
        bias = np.asarray(source.constants.get(2, np.zeros(len(weight))), np.float64)
        window = read_window(source, weight.shape[2:])
        return Read({**window, "groups": groups}, weights={"weight": weight}, biases={"bias": bias})

    def linear(self, node: Node, program: Program) -> Linear:
        """One block for each group; the patches of one output row share most of their inputs."""
        import numpy as np

        weight, groups = node.constants["weight"], node.attributes["groups"]
        channels, *image = program.shapes[node.inputs[0]]
        outputs, *made = program.shapes[node.output]
        windows = window_elements(node.attributes, image, made)  # (positions, window), -1 for padding
        positions, size = len(windows), math.prod(image)
        each_in, each_out = channels // groups, outputs // groups
        blocks = []
        for group in range(groups):
            starts = (group * each_in + np.arange(each_in)) * size
            patches = np.where(windows[:, None] < 0, -1, windows[:, None] + starts[:, None])
            rows = np.arange(group * each_out, (group + 1) * each_out)
            blocks.append(
                Block(
                    patches.reshape(positions, -1),
                    weight[rows].reshape(each_out, -1),
                    rows[None] * positions + np.arange(positions)[:, None],
                    tuple(tuple(range(start, start + made[-1])) for start in range(0, positions, made[-1])),
                )
            )
        return Linear(tuple(blocks), np.repeat(self.bias(node, program), positions), program.format.fraction)


OPERATIONS = {"Conv": Conv()}
