"""The fixed-point formats: FP16x16 has 16 bits before the point and 16 behind it, and a sign."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAME = re.compile(r"FP(\d{1,2})x(\d{1,2})")


@dataclass(frozen=True)
class Format:
    """A value v is held as the integer `raw` = v * 2**fraction; |v| < 2**integer."""

    integer: int
    fraction: int

    @property
    def name(self) -> str:
        """As users write it, for example FP16x16."""
        return f"FP{self.integer}x{self.fraction}"

    @property
    def one(self) -> int:
        """The raw value of 1."""
        return 1 << self.fraction

    @property
    def limit(self) -> int:
        """Every raw value lies strictly between -limit and limit; so that int64 holds it, below 2**62 in any format."""
        return 1 << min(self.integer + self.fraction, 62)

    @property
    def largest(self) -> int:
        """Every value lies strictly between -largest and largest."""
        return self.limit >> self.fraction

    def raw(self, values: Any) -> NDArray[Any]:
        """Numbers -> int64 raw values, rounded to the nearest, ties to even; no check of the range."""
        import numpy as np

        return np.rint(np.asarray(values, np.float64) * self.one).astype(np.int64)

    def value(self, raw: Any) -> NDArray[Any]:
        """Raw values -> float64."""
        import numpy as np

        return np.asarray(raw).astype(np.float64) / self.one


def parse_format(name: str) -> Format:
    """`FP16x16` -> its Format; ValueError unless both parts are from 4 to 40 bits, and 64 together at most."""
    found = _NAME.fullmatch(name)
    if not found:
        raise ValueError("must be FP<bits before the point>x<bits behind it>, for example FP16x16")
    integer, fraction = int(found[1]), int(found[2])
    if not (4 <= integer <= 40 and 4 <= fraction <= 32 and integer + fraction <= 64):
        raise ValueError("needs 4 to 40 bits before the point, 4 to 32 behind it, and 64 together at most")
    return Format(integer, fraction)


def format_of(name: str) -> Format:
    """As `parse_format`, for a file's content: StageError."""
    try:
        return parse_format(name)
    except ValueError as error:
        raise StageError(f"{name!r} is no fixed-point format: it {error}", "run quantize again") from error
