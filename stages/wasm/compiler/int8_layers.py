"""Quantized fully connected layers, pooling and sums by the fast kernels, and the way to and from float."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.wasm.compiler import packing
from stages.wasm.compiler.int8_conv import Rounding
from stages.wasm.compiler.specialised import Specialised, Strides, number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.wasm.compiler.fast_layers import PoolShape


def dense(rows: int, weights: NDArray[np.int8], bias: NDArray[np.int32], rounding: Rounding) -> Specialised:
    """(rows, k) by `weights` (n, k) -> (rows, n)."""
    n, k = weights.shape
    call = f"int8_dense({k}, {n}, in + i * {k}, w, b, {rounding.c(None)}, out + i * {n});"
    constants = {
        "w": packing.int8_dense(weights),
        "b": packing.filled(bias, 8),
        "m": packing.filled(rounding.scale, 8),
    }
    return Specialised(("int8_dense.h",), "int16_t", f"for (int i = 0; i < {rows}; ++i) {call}", constants)


def pool(
    shape: PoolShape, kind: str, scale: float, bounds: tuple[int, int], source: Strides, target: Strides
) -> Specialised:
    """One image. `scale`: the input's over the output's, `bounds` of q - zero point; the maximum needs neither."""
    body = (
        f"int8_pool((pool_shape){shape.c}, {kind}, {source.view('int8_source', 'in')}, {number(scale)}, "
        f"{bounds[0]}, {bounds[1]}, {target.view('int8_target', 'out')});"
    )
    return Specialised(("int8_pooling.h",), "int16_t", body)
