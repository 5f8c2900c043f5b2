"""The quantize/dequantize pairs of an int8 model: the integers of a node's weights, and how its input is rounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.common.onnx_models import onnx_files

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Integers:
    """Weights as integers: (values - zero) * scale, where scale and zero are laid along the axis they are for."""

    name: str
    """of the initializer"""
    values: NDArray[Any]
    scale: NDArray[Any]
    zero: NDArray[Any]

    def weight(self) -> NDArray[Any]:
        """What they stand for, in float32."""
        import numpy as np

        found: NDArray[Any] = (self.values.astype(np.float32) - self.zero.astype(np.float32)) * self.scale
        return found


class Rounding:
    """What a tensor is rounded to: the nearest of the integers of its type, times its scale."""

    def __init__(self, scale: NDArray[Any], zero: NDArray[Any]) -> None:
        self._scale, self._zero = scale, zero

    def rounded(self, values: NDArray[Any]) -> NDArray[Any]:
        """As integers hold them."""
        import numpy as np

        found: NDArray[Any] = np.rint(self._steps(values)) * self._scale
        return found

    def clipped(self, values: NDArray[Any]) -> NDArray[Any]:
        """As they are, within the range.

        What lies outside of it was left out on purpose: if it counted, a few samples unlike the others would change the
        bias for all.
        """
        found: NDArray[Any] = self._steps(values) * self._scale
        return found

    def _steps(self, values: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        kind, zero = np.iinfo(self._zero.dtype), int(self._zero)
        found: NDArray[Any] = np.clip(values / self._scale, kind.min - zero, kind.max - zero)
        return found


class Pairs:
    """The nodes of the int8 model, and what stands before them."""

    def __init__(self, int8: onnx_files.Model) -> None:
        from onnx import numpy_helper

        self._nodes = {node.name: node for node in int8.graph.node}
        self._makers = {name: node for node in int8.graph.node for name in node.output}
        self._values = {one.name: numpy_helper.to_array(one) for one in int8.graph.initializer}

    def has(self, name: str) -> bool:
        """Whether the node is there and its weights are integers."""
        return name in self._nodes and self._dequantized(self._nodes[name].input[1]) is not None

    def input_of(self, name: str) -> Rounding | None:
        """How the node's input is rounded; None if it is not."""
        maker = self._dequantized(self._nodes[name].input[0])
        return None if maker is None else Rounding(self._values[maker.input[1]], self._values[maker.input[2]])

    def integers_of(self, name: str) -> Integers:
        """The node's weights, if it has integers."""
        import numpy as np

        maker = self._dequantized(self._nodes[name].input[1])
        assert maker is not None
        values, scale, zero = (self._values[one] for one in maker.input)
        axis = next((one.i for one in maker.attribute if one.name == "axis"), 1)
        if scale.ndim:
            along = [-1 if index == axis % values.ndim else 1 for index in range(values.ndim)]
            scale, zero = scale.reshape(along), zero.reshape(along)
        return Integers(maker.input[0], values, scale, zero.astype(np.int32))

    def _dequantized(self, name: str) -> Any:
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear":
            return None
        return maker if all(one in self._values for one in maker.input[1:]) else None
