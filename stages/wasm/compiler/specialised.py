"""A call of a fast kernel with every shape fixed: what it reads, what it needs beside, and its C."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Strides:
    """Of an activation in memory, in elements: from one row of pixels, and from one pixel, to the next."""

    row: int
    px: int

    def view(self, kind: str, at: str) -> str:
        """A C value of the struct `kind`, whose first pixel is at `at`."""
        return f"({kind}){{{at}, {self.row}, {self.px}}}"


@dataclass(frozen=True)
class Specialised:
    """The C of one kernel call, over the names of its parameters.

    `body` and `prepare` are statements. Their names: `in`, `out` and `res` point at the first pixel of an image (at
    the border, for a padded convolution), the keys of `constants` at packed weights, `prepared` and `scratch` at
    memory of 16-byte alignment. `prepare` runs once, before the first inference.
    """

    includes: tuple[str, ...]
    element: str
    body: str
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    residual: bool = False
    prepare: str = ""
    prepared_bytes: int = 0
    scratch_bytes: int = 0


def number(value: float) -> str:
    """A float32 as C reads it back exactly."""
    import numpy as np

    return f"{float(np.float32(value)).hex()}f"
