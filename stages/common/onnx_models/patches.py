"""What each position of a convolution sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def patches(
    shape: tuple[int, ...], kernel: tuple[int, ...], strides: Sequence[int], dilations: Sequence[int]
) -> NDArray[np.int64]:
    """Of an image (channels, *size) read as a list: what each position of a convolution sees.

    Returns places (*positions, channels x kernel), the last axis in the order of a kernel's own numbers.
    """
    seen = _seen(shape, kernel, strides, dilations)
    return seen.reshape(*seen.shape[: len(kernel)], -1)


def patches_at(
    drawn: Callable[[int], NDArray[np.intp]],
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> NDArray[np.int64]:
    """The same at some positions: `drawn` gives their indices, of so many. Returns (drawn, channels x kernel)."""
    import numpy as np

    seen = _seen(shape, kernel, strides, dilations)
    positions = seen.shape[: len(kernel)]
    indices = drawn(int(np.prod(positions)))
    return seen[np.unravel_index(indices, positions)].reshape(len(indices), -1)


def _seen(
    shape: tuple[int, ...], kernel: tuple[int, ...], strides: Sequence[int], dilations: Sequence[int]
) -> NDArray[np.int64]:
    """A view (*positions, channels, *kernel)."""
    import numpy as np

    rank = len(kernel)
    places = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    extent = tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True))
    seen = np.lib.stride_tricks.sliding_window_view(places, extent, axis=tuple(range(1, rank + 1)))
    seen = seen[(slice(None), *(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilations))]
    # (channels, *positions, *kernel) -> (*positions, channels, *kernel)
    return np.moveaxis(seen, 0, rank)
