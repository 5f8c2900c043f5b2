"""The user's graph as Akida's rules look at it, and what may be wrong with a layer of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.onnx_models.called import called

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Fault:
    """What is wrong with a layer, and what to do."""

    why: str
    change: str
    is_of_pool: bool = False
    """whether the layer is taken where no pool follows it"""


@dataclass
class Graph:
    """The user's graph: who makes and who reads each tensor, its shape for one sample, and what layers are called."""

    model: onnx_files.Model
    names: Mapping[str, str]
    """tensor -> layer of PyTorch's"""
    signals: bool = False
    """whether its maps were signals (N, C, T), of which it makes maps of height 1"""
    makers: dict[str, Any] = field(default_factory=dict)
    readers: dict[str, list[Any]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the model's graph."""
        import onnx

        self.weights = {one.name: onnx.numpy_helper.to_array(one) for one in self.model.graph.initializer}
        for node in self.model.graph.node:
            self.makers.update(dict.fromkeys(node.output, node))
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        graph = onnx.shape_inference.infer_shapes(self.model, data_prop=True).graph
        for value in (*graph.input, *graph.value_info, *graph.output):
            dims = value.type.tensor_type.shape.dim
            self.shapes[value.name] = tuple(axis.dim_value for axis in dims)

    def called(self, node: Any) -> str:
        """The layer as its author calls it, else the tensor it gives, and its operation."""
        return called(node, self.names)

    def before(self, node: Any) -> Any:
        """The node that makes what this one reads; None at the model's input."""
        return self.makers.get(node.input[0])

    def numbers(self, node: Any, name: str, default: int, count: int = 2) -> tuple[int, ...]:
        """An attribute of whole numbers."""
        found = next((tuple(one.ints) for one in node.attribute if one.name == name), None)
        return found or (default,) * count

    def is_first(self, node: Any) -> bool:
        """Whether it is the model's first convolution."""
        return next((one for one in self.model.graph.node if one.op_type == "Conv"), None) is node


def sized(model: onnx_files.Model, shape: tuple[int, ...]) -> onnx_files.Model:
    """A copy for one sample of that shape, so that all others follow."""
    copy = type(model)()
    copy.CopyFrom(model)
    name = onnx_files.only_input(copy, "the simplified model").name
    value = next(value for value in copy.graph.input if value.name == name)
    for axis, length in zip(value.type.tensor_type.shape.dim, (1, *shape), strict=False):
        axis.dim_value = length
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    return copy


def next_reader(graph: Graph, node: Any, over: tuple[str, ...]) -> Any:
    """The only reader of what the node gives, those of some operations passed over; None if there are others."""
    while True:
        readers = graph.readers.get(node.output[0], [])
        if len(readers) != 1:
            return None
        node = readers[0]
        if node.op_type not in over:
            return node


def by(lengths: tuple[int, ...]) -> str:
    return "x".join(map(str, lengths))
