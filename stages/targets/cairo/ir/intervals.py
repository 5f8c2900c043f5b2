"""Bounds that hold for every input: what an element of a tensor can be at least and at most, as raw integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SLACK = 2.0**-30
"""relative; float64 sums of fewer than 2**20 terms are off by less than 2**-32 of the sum of their sizes"""


@dataclass(frozen=True)
class Interval:
    """Lowest and highest raw value of each element of a tensor: float64, of the tensor's shape without batch."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def largest(self) -> int:
        """An integer that no element's absolute value exceeds."""
        import numpy as np

        return int(np.ceil(max(-float(self.low.min(initial=0.0)), float(self.high.max(initial=0.0)))))

    @property
    def smallest(self) -> int:
        """An integer that every element reaches."""
        import numpy as np

        return int(np.floor(self.low.min()))


def outward(low: NDArray[np.float64], high: NDArray[np.float64], size: NDArray[np.float64]) -> Interval:
    """The interval widened by what float64 may have lost; `size`: sum of the absolute values of what was added."""
    import numpy as np

    slack = np.abs(size) * SLACK + 1
    return Interval(np.floor(low - slack), np.ceil(high + slack))
