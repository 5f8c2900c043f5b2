"""Which train samples calibrate, and whether these are like what the model will meet."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from recast.stages.base import note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

_OUTSIDE = 0.1
"""share of the span of calibration samples by which test samples may lie beyond it unsaid"""
_NARROW = 0.5
"""share of it that they must at least span"""
_TAILS = (0.001, 0.999)
"""quantiles between which values are looked at: one odd sample is no range"""
LOOKED_AT, _VALUES = 512, 2**23
"""samples of each split whose values are looked at, and at most how many values they have"""


def balanced(
    samples: NDArray[np.intp], strata: NDArray[Any] | None, count: int, stream: np.random.Generator
) -> NDArray[np.intp]:
    """`count` of the samples in random order, as many of each class as there are, up to its share."""
    import numpy as np

    shuffled = samples[stream.permutation(len(samples))]
    if strata is None:
        return shuffled[:count]
    # the first of every class, then the second of every class, and so on
    turn = np.empty(len(shuffled), np.intp)
    for one in np.unique(strata[shuffled]):
        places = np.flatnonzero(strata[shuffled] == one)
        turn[places] = np.arange(len(places))
    chosen: NDArray[np.intp] = shuffled[np.argsort(turn, kind="stable")[:count]]
    return chosen[stream.permutation(len(chosen))]


def at_random(samples: NDArray[np.intp], count: int, stream: np.random.Generator) -> NDArray[np.intp]:
    """`count` of the samples, whatever their classes."""
    return samples[stream.permutation(len(samples))[:count]]


def looked_at(shape: Sequence[int]) -> int:
    """Of how many samples of this shape the values are looked at."""
    return min(LOOKED_AT, max(16, _VALUES // max(1, math.prod(shape))))


def say_what_differs(calibration: Mapping[str, NDArray[Any]], test: Mapping[str, NDArray[Any]]) -> str:
    """Note where test samples (N, C, ...) of an input, as stored, range elsewhere than those that calibrate.

    Gives what was said, which is nothing where they do not.
    """
    found = [one for name in calibration for one in _differing(calibration[name], test[name], name)]
    if not found:
        return ""
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    said = f"calibration samples range elsewhere than test samples, and targets take ranges from them: {found[0]}{more}"
    note(said)
    return said


def _differing(calibration: NDArray[Any], test: NDArray[Any], name: str) -> list[str]:
    """The channels whose values differ, with both ranges."""
    import numpy as np

    if calibration.dtype.kind != "f" and calibration.dtype != np.uint8:
        return []  # tokens have no range
    found = []
    for channel, (mine, met) in enumerate(zip(_channels(calibration), _channels(test), strict=True)):
        (low, high), (test_low, test_high) = (np.quantile(one.astype(np.float64), _TAILS) for one in (mine, met))
        span = high - low
        beyond = max(low - test_low, test_high - high)
        if beyond > _OUTSIDE * span or test_high - test_low < _NARROW * span:
            found.append(f"{name}, channel {channel}: {low:.4g} to {high:.4g}, test {test_low:.4g} to {test_high:.4g}")
    return found


def _channels(samples: NDArray[Any]) -> list[NDArray[Any]]:
    """The values of each channel; all together where samples have no axis of channels."""
    few = samples[: looked_at(samples.shape[1:])]
    return [few[:, channel] for channel in range(few.shape[1])] if few.ndim > 1 else [few]
