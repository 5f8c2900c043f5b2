"""What is done to the axes of a sample before Akida reads it, and of an output behind it: values move, none changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

Step = tuple[Literal["reshape", "transpose", "reflect", "edge", "wrap"], tuple[int, ...]]
"""of arrays (N, ...): a shape behind the batch, the order of all axes but the first, which are counted from 1, or a
padding by NumPy's mode of that name: how much in front of each axis but the first, then how much behind"""
PADDINGS: tuple[Literal["reflect", "edge", "wrap"], ...] = ("reflect", "edge", "wrap")


@dataclass(frozen=True)
class Layout:
    """How the lowered model's input and output differ from the user's model's."""

    takes: tuple[int, ...]
    """shape of a sample of the lowered model"""
    start: tuple[Step, ...] = ()
    """makes it of a sample of the user's"""
    finish: tuple[Step, ...] = ()
    """makes the user's output of the lowered model's; the first step states that one's shape, if there is any"""
    signals: bool = False
    """whether tensors (N, C, T) have become (N, C, 1, T)"""
    output: str = ""
    """what the user's model calls its output"""

    @property
    def is_plain(self) -> bool:
        """Whether nothing differs."""
        return not self.start and not self.finish

    def as_json(self) -> dict[str, Any]:
        """For scheme.json."""
        return {
            "takes": self.takes,
            "start": self.start,
            "finish": self.finish,
            "signals": self.signals,
            "output": self.output,
        }


def read(raw: Mapping[str, Any]) -> Layout:
    """What `as_json` gave."""
    return Layout(
        tuple(raw["takes"]), steps(raw["start"]), steps(raw["finish"]), bool(raw["signals"]), str(raw["output"])
    )


def steps(raw: Sequence[Any]) -> tuple[Step, ...]:
    """Steps as JSON has them."""
    return tuple((kind, tuple(int(one) for one in numbers)) for kind, numbers in raw)


def apply(x: NDArray[Any], done: Sequence[Step]) -> NDArray[Any]:
    """The array (N, ...) after these steps."""
    import numpy as np

    for kind, numbers in done:
        if kind == "reshape":
            x = x.reshape(len(x), *numbers)
        elif kind == "transpose":
            x = x.transpose(0, *numbers)
        else:
            x = np.pad(x, _sides(numbers), kind)
    return x


def _sides(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Before and after, for each axis."""
    half = len(numbers) // 2
    return [(0, 0), *zip(numbers[:half], numbers[half:], strict=True)]


def short(done: Sequence[Step]) -> tuple[Step, ...]:
    """The same in fewer steps: of several shapes in a row the last."""
    kept: list[Step] = []
    for step in done:
        if kept and step[0] == kept[-1][0] == "reshape":
            kept.pop()
        kept.append(step)
    return tuple(kept)


def as_python(array: str, done: Sequence[Step]) -> str:
    """The same as Python, for a README."""
    for kind, numbers in done:
        if kind in PADDINGS:
            array = f'np.pad({array}, {_sides(numbers)}, "{kind}")'
            continue
        given = ", ".join(map(str, ("len(x)" if kind == "reshape" else 0, *numbers)))
        array = f"{array}.{kind}({given})"
    return array
