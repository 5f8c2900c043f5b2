"""A call of one of PyTorch's functions while it is written in Zig: its tensors, and what it needs before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from recast.stages.targets.zml.codegen import zig_text
from recast.stages.targets.zml.codegen.runtime_functions import with_needs


class UnsupportedError(Exception):
    """ZML has no counterpart, or this target writes none."""


@dataclass(frozen=True)
class Value:
    """A tensor: its name in Zig, and its shape with a batch of 2 and of 3."""

    name: str
    shape: tuple[int, ...]
    other_shape: tuple[int, ...]
    floating: bool = True

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def axes(self) -> tuple[str, ...]:
        """What its axes are called; UnsupportedError if it has too many."""
        if self.rank not in zig_text.AXES:
            raise UnsupportedError(f"a tensor of rank {self.rank}, and at most {max(zig_text.AXES)} are supported")
        return zig_text.AXES[self.rank]

    def axis(self, index: int) -> str:
        """`.d`, of PyTorch's dim `index`."""
        return f".{self.axes[index]}"


class BatchDependent:
    """A number that the code computes from the batch size."""


@dataclass
class Call:
    """One call being written: the constants it needs before its expression, and its result's shape."""

    output: Value
    taken: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    helpers: list[str] = field(default_factory=list)
    tensors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """of the module itself: name in PyTorch -> axes"""

    def let(self, name: str, expression: str) -> str:
        """A constant of that value; its name."""
        name = zig_text.local(name, self.taken)
        self.taken.add(name)
        self.lines.append(f"const {name} = {expression};")
        return name

    def use(self, *helpers: str) -> None:
        """The expression calls these helpers."""
        self.helpers += with_needs(*helpers)

    def own(self, name: str, axes: Sequence[str]) -> str:
        """The module's own tensor of that name."""
        self.tensors[name] = tuple(axes)
        return f"self.{zig_text.field(name)}"

    @property
    def retagged(self) -> str:
        """`.withTags(...)` of the result's axes."""
        return f".withTags({zig_text.tags(self.output.axes)})"


Operation: TypeAlias = Callable[..., str]
"""(call, the function's own arguments) -> expression"""


def floating(x: Value) -> Value:
    """x; UnsupportedError if it holds integers."""
    if not x.floating:
        raise UnsupportedError("integers where floats are expected")
    return x


def dims_of(value: Value) -> list[int]:
    """Its dimensions, -1 for the one that grows with the batch."""
    dims = [a if a == b else -1 for a, b in zip(value.shape, value.other_shape, strict=True)]
    if dims.count(-1) > 1:
        raise UnsupportedError(f"a shape of which {dims.count(-1)} dimensions depend on the batch size")
    return dims
