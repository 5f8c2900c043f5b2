"""The orders in which the fast kernels read weights, filled up with zeros to whole vectors.

Every function takes ONNX's order (output channels, input channels of a group, rows, columns) and gives one flat array;
the head of the kernel named in each docstring says the order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]


def up(number: int, multiple: int) -> int:
    """The next multiple at or above `number`."""
    return -(-number // multiple) * multiple


def filled(vector: Array, multiple: int) -> Array:
    """A vector with zeros up to a multiple of `multiple`."""
    import numpy as np

    return np.pad(vector, (0, up(len(vector), multiple) - len(vector)))


def direct(weights: Array, least: int = 4) -> Array:
    """direct_conv.h: (oc, ic, kh, kw) -> blocks of 8 channels; `least` = 8 makes the last one 8 wide (winograd.h)."""
    return _joined(block.transpose(2, 3, 1, 0) for block in _blocks(weights, 8, least))


def depthwise(weights: Array) -> Array:
    """depthwise_conv.h: (channels, 1, kh, kw) -> (kh, kw, channels up to 4)."""
    import numpy as np

    return _joined(iter([np.concatenate(list(_blocks(weights, 4, 4)))[:, 0].transpose(1, 2, 0)]))


def dense(weights: Array) -> Array:
    """dense.h: (n, k) -> blocks of 32 outputs."""
    return _joined(block.T for block in _blocks(weights, 32, 4))


def int8_direct(weights: Array, by_row: bool, least: int = 4) -> Array:
    """int8_conv.h: (oc, ic, kh, kw) int8 -> blocks of 8 channels, in pairs.

    `by_row`: the pairs run through a kernel row; else through the input channels of one tap, as int8_winograd.h
    wants it with `least` = 8.
    """
    packed = []
    for block in _blocks(weights, 8, least):
        runs = block.transpose(2, 3, 1, 0)  # kh, kw, ic, oc
        kh, kw, ic, width = runs.shape
        packed.append(_in_pairs(runs.reshape(kh, kw * ic, width) if by_row else runs.reshape(kh * kw, ic, width)))
    return _joined(iter(packed))


def int8_depthwise(weights: Array) -> Array:
    """int8_depthwise_conv.h: (channels, 1, kh, kw) int8 -> blocks of 8 channels, taps in pairs."""
    blocks = (block[:, 0].reshape(1, 8, -1).transpose(0, 2, 1) for block in _blocks(weights, 8, 8))
    return _joined(_in_pairs(block) for block in blocks)


def int8_dense(weights: Array) -> Array:
    """int8_dense.h: (n, k) int8 -> blocks of 16 outputs, inputs in pairs."""
    return _joined(_in_pairs(block.T[None]) for block in _blocks(weights, 16, 4))


def _blocks(weights: Array, size: int, least: int) -> Iterator[Array]:
    """Slices of `size` along the first axis; the last one filled up to a multiple of `least`."""
    import numpy as np

    for start in range(0, len(weights), size):
        block = weights[start : start + size]
        missing = up(len(block), least) - len(block)
        yield np.pad(block, [(0, missing)] + [(0, 0)] * (weights.ndim - 1))


def _in_pairs(runs: Array) -> Array:
    """(runs, length, width) -> (runs, length up to even / 2, width, 2)."""
    import numpy as np

    count, length, width = runs.shape
    even = np.pad(runs, ((0, 0), (0, length % 2), (0, 0)))
    return even.reshape(count, -1, 2, width).transpose(0, 1, 3, 2)


def _joined(parts: Iterator[Array]) -> Array:
    import numpy as np

    return np.concatenate([part.ravel() for part in parts])
