"""AveragePool, GlobalAveragePool, ReduceMean and ReduceSum: sums whose weights are all alike.

Elements are added first, at one step each, and their sum is multiplied once. The weight, 1 / number of elements, has
eight more fraction bits than the format.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ops.linear import Block, Linear
from recast.stages.targets.cairo.ops.operation import Read, Source, Unsupported
from recast.stages.targets.cairo.ops.weighted import Weighted
from recast.stages.targets.cairo.ops.windows import read_window, window_elements

if TYPE_CHECKING:
    from numpy.typing import NDArray

MORE_BITS = 8


class Average(Weighted):
    """Means over lists of elements, all of one number of elements or not."""

    def means(self, lists: NDArray[Any], divisors: NDArray[Any], together: int, program: Program) -> Linear:
        """`lists` (outputs, elements), -1 for none; each sum is divided by its divisor."""
        import numpy as np

        drop = program.format.fraction + MORE_BITS
        blocks = []
        for divisor in np.unique(divisors):
            chosen = np.flatnonzero(divisors == divisor)
            weight = np.full((1, lists.shape[1]), round(2**drop / float(divisor)))
            groups = [
                tuple(range(start, min(start + together, len(chosen)))) for start in range(0, len(chosen), together)
            ]
            blocks.append(Block(lists[chosen], weight, chosen[:, None], tuple(groups)))
        return Linear(tuple(blocks), np.zeros(len(lists), np.int64), drop)


class AveragePool(Average):
    """Means over windows; with count_include_pad the padding's zeros count as elements."""

    def read(self, source: Source, fmt: Format) -> Read:
        """The window."""
        if source.attributes.get("ceil_mode", 0):
            raise Unsupported("ceil_mode is not possible")
        window = read_window(source, source.attributes["kernel_shape"])
        return Read({**window, "count_padding": int(source.attributes.get("count_include_pad", 0))})

    def linear(self, node: Node, program: Program) -> Linear:
        """One list for each window of each channel."""
        import numpy as np

        channels, *image = program.shapes[node.inputs[0]]
        made = program.shapes[node.output][1:]
        windows = window_elements(node.attributes, image, made)
        starts = np.arange(channels)[:, None, None] * math.prod(image)
        lists = np.where(windows < 0, -1, windows + starts).reshape(-1, windows.shape[1])
        counts = np.full(len(lists), windows.shape[1])
        if not node.attributes["count_padding"]:
            counts = (lists >= 0).sum(axis=1)
        return self.means(lists, counts, made[-1], program)


class GlobalAveragePool(Average):
    """Means over all positions of each channel."""

    def read(self, source: Source, fmt: Format) -> Read:
        """Nothing to keep."""
        return Read()

    def linear(self, node: Node, program: Program) -> Linear:
        """One list for each channel."""
        import numpy as np

        shape = program.shapes[node.inputs[0]]
        lists = np.arange(math.prod(shape)).reshape(shape[0], -1)
        return self.means(lists, np.full(len(lists), lists.shape[1]), TOGETHER, program)


TOGETHER = 8
"""means that are computed in one function"""


class Reduce(Average):
    """ReduceMean and ReduceSum over any axes but the batch's."""

    def __init__(self, divide: bool) -> None:
        self._divide = divide

    def read(self, source: Source, fmt: Format) -> Read:
        """The axes, of one sample."""
        return Read({"axes": reduced_axes(source)})

    def linear(self, node: Node, program: Program) -> Linear:
        """One list for each output."""
        import numpy as np

        lists = reduced_lists(program.shapes[node.inputs[0]], node.attributes["axes"])
        divisor = lists.shape[1] if self._divide else 1
        return self.means(lists, np.full(len(lists), divisor), TOGETHER, program)


def reduced_axes(source: Source) -> list[int]:
    """The axes that a Reduce node removes, of one sample; Unsupported if the batch is among them."""
    rank = len(source.shapes[0]) + 1
    given = source.constants.get(1, source.attributes.get("axes"))
    if given is None or len(given) == 0:
        raise Unsupported("without axes it mixes the samples of a batch")
    axes = sorted(int(axis) % rank for axis in given)
    if 0 in axes:
        raise Unsupported("it mixes the samples of a batch")
    return [axis - 1 for axis in axes]


def reduced_lists(shape: Sequence[int], axes: Sequence[int]) -> NDArray[Any]:
    """(outputs, elements): what each output is made of."""
    import numpy as np

    kept = [axis for axis in range(len(shape)) if axis not in axes]
    elements = np.arange(math.prod(shape)).reshape(tuple(shape)).transpose([*kept, *axes])
    return elements.reshape(math.prod(shape[axis] for axis in kept), -1)


OPERATIONS = {
    "AveragePool": AveragePool(),
    "GlobalAveragePool": GlobalAveragePool(),
    "ReduceMean": Reduce(divide=True),
    "ReduceSum": Reduce(divide=False),
}
