"""Which kernel a convolution gets: the one with the least estimated work.

Work is counted in multiply-adds of the direct kernel. What Winograd's transforms cost beside was measured in Node 20
on convolutions of 16, 32 and 64 channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.compilers.onnx_c.kernels import winograd
from recast.stages.compilers.onnx_c.kernels.packing import up

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRANSFORM = {4: 226, 2: 51}  # multiply-adds per tile and channel, of input or output
INT8_TRANSFORM = 40
GAIN = 0.85  # Winograd must save this much to be worth its scratch memory
# beyond, the transformed weights of one layer would come from memory at every inference, not from a cache
MOST_TRANSFORMED_BYTES = 4 << 20
BLOCK_BYTES = 72 << 10  # of transformed input that the tiles of one block may take: it should stay in the caches


@dataclass(frozen=True)
class ConvShape:
    """One convolution of one image, as direct_conv.h has it; `ic` and `oc` are those of one group."""

    ic: int
    oc: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    output: tuple[int, int]
    groups: int = 1

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.ic == 1 and self.oc == 1

    @property
    def may_be_winograd(self) -> bool:
        plain = self.kernel == (3, 3) and self.stride == (1, 1) and self.dilation == (1, 1)
        return plain and self.groups == 1

    @property
    def c(self) -> str:
        """The initialiser of a `conv_shape`."""
        channels = self.groups if self.depthwise else self.oc
        numbers = (self.ic, channels, *self.kernel, *self.stride, *self.dilation, *self.output)
        return f"{{{', '.join(map(str, numbers))}}}"


def tile(shape: ConvShape, weights: NDArray[Any]) -> int:
    """The side of the output tile of the Winograd kernel to use, 4 or 2, or 0 for none."""
    if not shape.may_be_winograd:
        return 0
    direct = 9 * shape.ic * up(shape.oc, 4) * shape.output[0] * shape.output[1]
    work = {
        side: _tiles(shape, side) * ((side + 2) ** 2 * shape.ic * up(shape.oc, 8) + extra * (shape.ic + shape.oc))
        for side, extra in TRANSFORM.items()
        if min(shape.output) >= side and (side + 2) ** 2 * shape.ic * up(shape.oc, 8) * 4 <= MOST_TRANSFORMED_BYTES
    }
    for side in sorted(work, key=work.__getitem__):
        if work[side] < GAIN * direct and winograd.relative_error(weights, side) <= winograd.LIMIT:
            return side
    return 0


def int8_winograd(shape: ConvShape, weights: NDArray[Any]) -> bool:
    """Whether the exact integer Winograd kernel pays and its sums fit int32; `weights` (oc, ic, 3, 3) int8."""
    import numpy as np

    if not shape.may_be_winograd or min(shape.output) < 2 or 32 * shape.ic * up(shape.oc, 8) > MOST_TRANSFORMED_BYTES:
        return False
    direct = 9 * shape.ic * up(shape.oc, 4) * shape.output[0] * shape.output[1]
    work = _tiles(shape, 2) * (16 * shape.ic * up(shape.oc, 8) + INT8_TRANSFORM * (shape.ic + shape.oc))
    kernel, _, _ = winograd.matrices(2)
    # of an output channel, over all 16 positions: no sum of theirs can be larger
    transformed = np.abs(4 * (kernel @ weights.astype(np.float64) @ kernel.T)).sum(axis=(1, 2, 3))
    return work < GAIN * direct and bool(transformed.max() * 4 * 255 < 2**31)


def block(shape: ConvShape, side: int, bytes_each: int) -> int:
    """Tiles to transform at once: a multiple of 4, at most 64 (the kernels' bound)."""
    fitting = BLOCK_BYTES // ((side + 2) ** 2 * up(shape.ic, 8) * bytes_each) // 4 * 4
    return max(4, min(32, fitting, up(_tiles(shape, side), 4)))


def _tiles(shape: ConvShape, side: int) -> int:
    return -(-shape.output[0] // side) * -(-shape.output[1] // side)
