"""Everything that is a weighted sum with constant weights: dense layers, convolutions, averages, scalings.

A linear node is a list of blocks. In a block, each patch (a list of input elements) is multiplied with each row of the
weights. One rescale per sum: sum and bias have fraction bits of input and weight together, half a unit of the result is
added, and the weight's fraction bits are cut off, so results are rounded to the nearest, ties towards plus infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.targets.cairo.ir import slots
from recast.stages.targets.cairo.ir.intervals import Interval, outward
from recast.stages.targets.cairo.ops.operation import OutOfRange

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXACT = 2**53
"""float64 sums of integers are exact below this"""


@dataclass(frozen=True)
class Block:
    """`sum[outputs[p, r]] = bias + weights[r] . x[patches[p]]`."""

    patches: NDArray[np.int64]
    """(patches, taps): element numbers of the input; -1 is a zero"""
    weights: NDArray[np.int64]
    """(rows, taps), raw"""
    outputs: NDArray[np.int64]
    """(patches, rows): element numbers of the output"""
    together: tuple[tuple[int, ...], ...]
    """patches that are computed in one function, because they share inputs"""


@dataclass(frozen=True)
class Linear:
    """The sums of one node."""

    blocks: tuple[Block, ...]
    bias: NDArray[Any]
    """per output element, with input's and weight's fraction bits; Python's integers where int64 may not hold them"""
    drop: int
    """the weights' fraction bits, which each sum loses in the end"""

    def mirror(self, x: NDArray[Any]) -> NDArray[Any]:
        """(N, input elements) -> (N, output elements), int64, rescaled."""
        import numpy as np

        return np.asarray((self.sums(x) + (1 << (self.drop - 1))) >> self.drop, np.int64)

    def sums(self, x: NDArray[Any]) -> NDArray[Any]:
        """The sums before the rescale: int64 where these hold them, Python's integers where not."""
        import numpy as np

        largest = [_size(block, x) for block in self.blocks]
        bias = int(np.abs(self.bias.astype(object)).max(initial=0))
        wide = max(largest) + bias >= 2**62
        out = np.zeros((len(x), len(self.bias)), object if wide else np.int64)
        for block, size in zip(self.blocks, largest, strict=True):
            products = _products(block, x, size, wide)
            out[:, block.outputs.ravel()] = products.reshape(len(x), -1)
        whole: NDArray[Any] = out + self.bias.astype(object if wide else np.int64)
        return whole

    def interval(self, x: Interval) -> tuple[Interval, int]:
        """Of the rescaled result, and the largest absolute value of a sum, rounding included."""
        import numpy as np

        low, high = np.zeros(len(self.bias)), np.zeros(len(self.bias))
        size = np.abs(self.bias.astype(np.float64))
        for block in self.blocks:
            down, up = _gathered(block, x.low.reshape(1, -1))[0], _gathered(block, x.high.reshape(1, -1))[0]
            plus = np.maximum(block.weights, 0).astype(np.float64).T
            minus = np.minimum(block.weights, 0).astype(np.float64).T
            where = block.outputs
            low[where], high[where] = down @ plus + up @ minus, up @ plus + down @ minus
            size[where] += np.maximum(np.abs(down), np.abs(up)) @ (plus - minus)
        half = 1 << (self.drop - 1)
        bias = self.bias.astype(np.float64) + half
        sums = outward(low + bias, high + bias, size + half)
        scale = 2.0**self.drop
        return Interval(np.floor(sums.low / scale), np.floor(sums.high / scale)), sums.largest

    def slots(self, x: Interval) -> slots.Slots:
        """The slots that hold every sum; OutOfRange if a sum does not fit the widest."""
        _, largest = self.interval(x)
        found = slots.narrowest(largest)
        if found.width > slots.WIDEST:
            raise OutOfRange(
                f"its sums can reach {found.width - 1} bits, and an accumulator has {slots.WIDEST - 1} and a sign"
            )
        return found


def _gathered(block: Block, x: NDArray[Any]) -> NDArray[Any]:
    """(N, elements) -> (N, patches, taps), zero where a tap is padding."""
    import numpy as np

    if (block.patches < 0).any():
        x = np.concatenate([x, np.zeros((len(x), 1), x.dtype)], axis=1)  # element -1 is the last
    return x[:, block.patches]


def _size(block: Block, x: NDArray[Any]) -> int:
    """At least the largest absolute value any partial sum of products has."""
    import numpy as np

    row = int(np.abs(block.weights).astype(object).sum(axis=1).max(initial=0))
    return row * int(max(abs(int(x.max(initial=0))), abs(int(x.min(initial=0)))))


def _products(block: Block, x: NDArray[Any], size: int, wide: bool) -> NDArray[Any]:
    """(N, patches, rows): exact, by float64 products where these are, else in two parts or more."""
    import numpy as np

    gathered = _gathered(block, x)
    if size < EXACT:
        return (gathered.astype(np.float64) @ block.weights.T.astype(np.float64)).astype(np.int64)
    # weights split into parts of so few bits that each part's sums are exact
    reach = max(abs(int(x.max(initial=0))), abs(int(x.min(initial=0))))
    step = EXACT.bit_length() - 1 - block.weights.shape[1].bit_length() - reach.bit_length()
    if step < 1 or gathered.dtype == object:
        product: NDArray[Any] = gathered.astype(object) @ block.weights.T.astype(object)
        return product
    total: NDArray[Any] = np.zeros((*gathered.shape[:2], len(block.weights)), object if wide else np.int64)
    rest, shift, floats = block.weights, 0, gathered.astype(np.float64)
    while True:
        # 0 <= part < 2**step, until what is left is 0 or -1
        last = bool(((rest == 0) | (rest == -1)).all())
        part = rest if last else rest & ((1 << step) - 1)
        sums = (floats @ part.T.astype(np.float64)).astype(np.int64)
        total += (sums.astype(object) if wide else sums) * (1 << shift)
        if last:
            return total
        rest, shift = rest >> step, shift + step


def packs(block: Block, together: Sequence[int], count: int) -> list[list[tuple[int, int]]]:
    """How the sums of some patches are put into felts of `count` slots: lists of (patch, row).

    Where a patch has as many rows as there are slots, a felt holds one patch's only, since these share all inputs.
    """
    rows = len(block.weights)
    if rows >= count:
        return [
            [(patch, row) for row in range(start, min(start + count, rows))]
            for patch in together
            for start in range(0, rows, count)
        ]
    pairs = [(patch, row) for patch in together for row in range(rows)]
    return [pairs[start : start + count] for start in range(0, len(pairs), count)]
