"""The faults that the tests of parity plant, in float and in int8 graphs, and how networks for them are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FAULTS = (
    "removed ReLU",
    "swapped padding",
    "wrong axis",
    "wrong normalisation",
    "truncated weight",
    "saturating scale",
    "transposed Gemm",
)
Plant = Callable[[Any], object]
"""changes a model in place"""


@dataclass(frozen=True)
class Site:
    """Where a network has a fault planted."""

    layer: str
    """the layer at fault"""
    output: str
    """the tensor that it gives together with what is fused with it"""


@dataclass(frozen=True)
class Planted:
    """A fault at a conversion."""

    layer: str
    """the layer at fault"""
    plant: Plant


@dataclass(frozen=True)
class Impossible:
    """A fault that a conversion cannot have."""

    reason: str
    lacks: Callable[[Any], bool]
    """whether the conversion's model has nothing of what the fault needs, as the reason says"""


Matrix = dict[tuple[str, str], Planted | Impossible]
"""(fault, conversion) -> how it is planted there, or why it cannot be"""


class Weights:
    """A graph under construction, with random weights such that activations keep their size, or with given ones."""

    def __init__(self, seed: int, given: Mapping[str, NDArray[Any]] | None = None) -> None:
        self._random = np.random.default_rng(seed)
        self._given = given or {}
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def weight(self, name: str, values: NDArray[Any]) -> str:
        import onnx

        values = self._given.get(name, values)
        self._weights.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def numbers(self, name: str, values: list[int]) -> str:
        """A constant of whole numbers."""
        import onnx

        self._weights.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def add(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        import onnx

        self._nodes.append(onnx.helper.make_node(kind, inputs, [name], f"node_{name}", **attributes))
        return name

    def conv(self, name: str, x: str, channels: int, filters: int, size: int = 3, **attributes: Any) -> str:
        spread = np.sqrt(2 / (channels * size * size))
        w = self.weight(f"{name}.weight", self._random.normal(0, spread, (filters, channels, size, size)))
        bias = self.weight(f"{name}.bias", self._random.normal(0, 0.1, filters))
        return self.add("Conv", name, [x, w, bias], **attributes)

    def norm(self, name: str, x: str, channels: int) -> str:
        parts = [
            self.weight(f"{name}.scale", self._random.uniform(0.7, 1.3, channels)),
            self.weight(f"{name}.shift", self._random.normal(0, 0.2, channels)),
            self.weight(f"{name}.mean", self._random.normal(0, 0.3, channels)),
            self.weight(f"{name}.var", self._random.uniform(0.5, 2.0, channels)),
        ]
        return self.add("BatchNormalization", name, [x, *parts])

    def linear(self, name: str, x: str, inputs: int, outputs: int) -> str:
        w = self.weight(f"{name}.weight", self._random.normal(0, np.sqrt(2 / inputs), (outputs, inputs)))
        bias = self.weight(f"{name}.bias", self._random.normal(0, 0.1, outputs))
        return self.add("Gemm", name, [x, w, bias], transB=1)

    def model(self, name: str, shape: tuple[int, ...], classes: int, output: str = "scores") -> Any:
        """From "image" (batch, *shape) to `output` (batch, classes)."""
        import onnx

        kind = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            self._nodes,
            name,
            [onnx.helper.make_tensor_value_info("image", kind, ["batch", *shape])],
            [onnx.helper.make_tensor_value_info(output, kind, ["batch", classes])],
            self._weights,
        )
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


def node(model: Any, output: str) -> Any:
    return next(one for one in model.graph.node if output in one.output)


def attribute(one: Any, name: str, value: Any) -> None:
    """Set an attribute of a node."""
    import onnx

    kept = [entry for entry in one.attribute if entry.name != name]
    del one.attribute[:]
    one.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def get(one: Any, name: str) -> Any:
    import onnx

    return next(onnx.helper.get_attribute_value(entry) for entry in one.attribute if entry.name == name)


def change(model: Any, weight: str, how: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Change a weight in place."""
    import onnx

    tensor = next(one for one in model.graph.initializer if one.name == weight)
    before = onnx.numpy_helper.to_array(tensor)
    # a scalar stays one, which fused kernels insist on for a scale
    after = np.asarray(how(before.copy()), dtype=before.dtype, order="C")
    tensor.CopyFrom(onnx.numpy_helper.from_array(after, weight))


def copy(model: Any) -> Any:
    made = type(model)()
    made.CopyFrom(model)
    return made


def without_last_quarter(w: NDArray[Any]) -> NDArray[Any]:
    """Its last filters are zero, as when a file was cut short."""
    kept = np.arange(len(w)) < len(w) - max(1, len(w) // 4)
    return w * kept.reshape(-1, *(1,) * (w.ndim - 1)).astype(w.dtype)


def channels_last(w: NDArray[Any], flat: tuple[int, int, int]) -> NDArray[Any]:
    """Weights (outputs, inputs) for inputs that were flattened with the channels last, not first."""
    return w.reshape(len(w), *flat).transpose(0, 2, 3, 1).reshape(w.shape)


def other_padding(model: Any, output: str) -> None:
    """What was added below and to the right is added above and to the left."""
    conv = node(model, output)
    pads = list(get(conv, "pads"))
    assert pads[:2] != pads[2:]
    attribute(conv, "pads", pads[2:] + pads[:2])


def other_axis(model: Any, output: str) -> None:
    one = node(model, output)
    attribute(one, "axis", 3 if get(one, "axis") == 2 else 2)


def in_float(fault: str, site: Site) -> Planted | Impossible:
    """The fault in a float graph whose weights are named after their layers."""
    name = site.layer
    plants: dict[str, Plant] = {
        "removed ReLU": lambda model: setattr(node(model, name), "op_type", "Identity"),
        "swapped padding": lambda model: other_padding(model, name),
        "wrong axis": lambda model: other_axis(model, name),
        "wrong normalisation": lambda model: change(model, f"{name}.var", lambda var: var[::-1]),
        "truncated weight": lambda model: change(model, f"{name}.weight", without_last_quarter),
        "transposed Gemm": lambda model: change(model, f"{name}.weight", lambda w: w.T),
    }
    if fault == "saturating scale":
        return Impossible("a float graph has no scales", has_no_scales)
    return Planted(name, plants[fault])


def has_no_scales(model: Any) -> bool:
    return not any(one.op_type in ("QuantizeLinear", "DequantizeLinear") for one in model.graph.node)


def weight_of(model: Any, output: str, part: int = 0) -> str:
    """The stored int8 weight (part 0) or its scales (part 1) of the layer that gives `output`."""
    makers = {name: one for one in model.graph.node for name in one.output}
    return str(makers[node(model, output).input[1]].input[part])


def in_int8(fault: str, site: Site) -> Planted:
    """The fault in a graph with quantize/dequantize pairs, where a Conv or Gemm gives what it is fused with gives."""
    output = site.output

    def remove_relu(model: Any) -> None:
        # no ReLU is left in the graph: it is the lowest integer, which stands for zero, and here the middle one does
        change(model, f"{output}_zero_point", lambda zero: zero * 0 + (128 if zero.dtype == np.uint8 else 0))
        change(model, f"{output}_scale", lambda scale: scale * 2)

    plants: dict[str, Plant] = {
        "removed ReLU": remove_relu,
        "swapped padding": lambda model: other_padding(model, output),
        "wrong axis": lambda model: other_axis(model, output),
        "wrong normalisation": lambda model: change(model, weight_of(model, output, 1), lambda scale: scale[::-1]),
        "truncated weight": lambda model: change(model, weight_of(model, output), without_last_quarter),
        "saturating scale": lambda model: change(model, f"{output}_scale", lambda scale: scale / 6),
        "transposed Gemm": lambda model: change(model, weight_of(model, output), lambda w: w.T),
    }
    return Planted(site.layer, plants[fault])
