"""The compiler's IR: tensors with static shapes, nodes in running order, and how a tensor lies in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

Layout = Literal["plain", "channels_last"]
"""`plain` is ONNX's order, row major; `channels_last` puts axis 1 innermost (NHWC for images)."""

C_TYPES = {
    "float32": "float",
    "bool": "uint8_t",
    "uint8": "uint8_t",
    "int8": "int8_t",
    "uint16": "uint16_t",
    "int16": "int16_t",
    "uint32": "uint32_t",
    "int32": "int32_t",
    "uint64": "uint64_t",
    "int64": "int64_t",
}
"""NumPy's name of a dtype -> the C type of its elements; what is not here the compiler does not support."""

ITEM_SIZE = {
    "float": 4,
    "uint8_t": 1,
    "int8_t": 1,
    "uint16_t": 2,
    "int16_t": 2,
    "uint32_t": 4,
    "int32_t": 4,
    "uint64_t": 8,
    "int64_t": 8,
}


@dataclass
class Tensor:
    """A value of the graph. `shape` is ONNX's, whatever the layout; `value` is set for a constant.

    `border` is in the order of ONNX's pads over the spatial axes (top, left, bottom, right for an image): so many
    zeros lie around the data in memory. Producers write the interior only; the memory plan keeps the border zero.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    value: NDArray[Any] | None = None
    layout: Layout = "plain"
    border: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Elements, without the border."""
        return prod(self.shape)

    @property
    def c_type(self) -> str:
        return C_TYPES[self.dtype]

    @property
    def padded_shape(self) -> tuple[int, ...]:
        """The shape with the border."""
        if not any(self.border):
            return self.shape
        spatial = len(self.shape) - 2
        padded = (n + self.border[i] + self.border[spatial + i] for i, n in enumerate(self.shape[2:]))
        return (*self.shape[:2], *padded)

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements from one index to the next, per axis of `shape`."""
        rank = len(self.shape)
        order = [0, *range(2, rank), 1] if self.layout == "channels_last" and rank > 2 else list(range(rank))
        strides, step = [0] * rank, 1
        for axis in reversed(order):
            strides[axis] = step
            step *= self.padded_shape[axis]
        return tuple(strides)

    @property
    def offset(self) -> int:
        """Elements from the start of the buffer to the element at index 0, 0, ..."""
        if not any(self.border):
            return 0
        strides = self.strides
        return sum(strides[2 + i] * self.border[i] for i in range(len(self.shape) - 2))

    @property
    def memory_size(self) -> int:
        """Elements of the buffer, the border included."""
        return prod(self.padded_shape)

    @property
    def geometry(self) -> tuple[Any, ...]:
        """What decides where an element lies: equal geometry, equal addresses. Axes of length 1 do not count."""
        lengths = [(n, stride) for n, stride in zip(self.shape, self.strides, strict=True) if n > 1]
        return (tuple(lengths), self.offset, self.memory_size, self.c_type)


@dataclass(frozen=True)
class Step:
    """One operation applied to each element a node writes, before it is stored.

    `operand` is the other tensor of a binary step (a residual, a bias of any broadcastable shape); `swapped` says
    that it is the left one.
    """

    op: str
    attributes: dict[str, Any] = field(default_factory=dict)
    operand: str = ""
    swapped: bool = False


@dataclass
class Node:
    """An operation. An absent optional input is "". `opset` is the version of its domain that the model imports."""

    name: str
    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 0
    epilogue: list[Step] = field(default_factory=list)
    folded: list[str] = field(default_factory=list)
    """names of the nodes that passes merged into this one, for the report"""

    def input(self, index: int) -> str:
        """The name of an input, or "" if it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""

    @property
    def reads(self) -> list[str]:
        """Every tensor the node reads, the operands of its epilogue too."""
        return [name for name in (*self.inputs, *(step.operand for step in self.epilogue)) if name]


@dataclass
class Graph:
    """Nodes in an order in which they can run, and the tensors by name."""

    tensors: dict[str, Tensor]
    nodes: list[Node]
    inputs: list[str]
    outputs: list[str]

    def consumers(self) -> dict[str, list[Node]]:
        """Tensor name -> the nodes that read it, once per reading."""
        found: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in node.reads:
                found[name].append(node)
        return found

    def producers(self) -> dict[str, Node]:
        """Tensor name -> the node that writes it; not there for an input or a constant."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of a constant tensor; None for any other, or for an absent input."""
        return self.tensors[name].value if name else None

    def add(self, like: Tensor, suffix: str, **changes: Any) -> Tensor:
        """A new tensor like another, with a name that no tensor bears."""
        name, count = f"{like.name}.{suffix}", 1
        while name in self.tensors:
            count += 1
            name = f"{like.name}.{suffix}{count}"
        self.tensors[name] = replace(like, name=name, value=None, **changes)
        return self.tensors[name]

    def add_constant(self, value: NDArray[Any], name: str) -> Tensor:
        """A new constant, with a name that no tensor bears."""
        tensor = self.add(Tensor(name, tuple(value.shape), str(value.dtype)), "constant")
        tensor.value = value
        return tensor
