"""What the generated code takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Port:
    """An input or output of the generated code, in ONNX's order and layout; `dtype` is NumPy's name."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)
