"""Fully connected layers and pooling in float by the fast kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.wasm.compiler import packing
from stages.wasm.compiler.specialised import Specialised, Strides

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROWS_BY_TILES = 4  # from so many rows on, a weight read once serves the four rows of a tile


@dataclass(frozen=True)
class PoolShape:
    """Pooling of one image, as pooling.h has it; `before` is the padding above and to the left."""

    channels: int
    input: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    output: tuple[int, int]

    @property
    def c(self) -> str:
        """The initialiser of a `pool_shape`."""
        pairs = (self.input, self.kernel, self.stride, self.dilation, self.before, self.output)
        return f"{{{self.channels}, {', '.join(str(number) for pair in pairs for number in pair)}}}"


def dense(
    rows: int, weights: NDArray[np.float32], bias: NDArray[np.float32], residual: bool, activation: str
) -> Specialised:
    """(rows, k) by `weights` (n, k) -> (rows, n), all rows in one call, one after the other in memory."""
    n, k = weights.shape
    constants = {"b": packing.filled(bias, 8)}
    if rows >= ROWS_BY_TILES:
        # the rows are the pixels of a 1x1 convolution
        view = Strides(rows * n, n)
        other = view.view("source", "res") if residual else "(source){0, 0, 0}"
        body = (
            f"direct_conv((conv_shape){{{k}, {n}, 1, 1, 1, 1, 1, 1, 1, {rows}}}, (source){{in, {rows * k}, {k}}}, w, b, "
            f"{other}, (activation){activation}, {view.view('target', 'out')});"
        )
        constants["w"] = packing.direct(weights[:, :, None, None])
        return Specialised(("direct_conv.h",), "float", body, constants, residual)
    other = f"res + i * {n}" if residual else "0"
    call = f"dense({k}, {n}, in + i * {k}, w, b, {other}, (activation){activation}, out + i * {n});"
    constants["w"] = packing.dense(weights)
    return Specialised(("dense.h",), "float", f"for (int i = 0; i < {rows}; ++i) {call}", constants, residual)


def pool(shape: PoolShape, kind: str, source: Strides, target: Strides) -> Specialised:
    """One image; `kind` is MAX_POOL, AVERAGE_OF_IMAGE (without padding) or AVERAGE_OF_WINDOW."""
    body = f"pool((pool_shape){shape.c}, {kind}, {source.view('source', 'in')}, {target.view('target', 'out')});"
    return Specialised(("pooling.h",), "float", body)
