"""A network of 32 layers in ONNX with random weights, and faults to plant in it, for the tests of parity.

float32 (N, 3, 16, 16) -> scores (N, 10): a strided convolution with uneven padding, six residual blocks, a gate
that is a softmax over channels, and three fully connected layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANNELS = 16
BLOCKS = 6


def deep(seed: int) -> Any:
    """The model; its tensors are named after what makes them: `block3.relu`."""
    import onnx

    random = np.random.default_rng(seed)
    nodes: list[Any] = []
    weights: list[Any] = []

    def weight(name: str, values: NDArray[Any]) -> str:
        weights.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def add(kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        nodes.append(onnx.helper.make_node(kind, inputs, [name], f"node_{name}", **attributes))
        return name

    def conv(name: str, x: str, channels: int, **attributes: Any) -> str:
        size = (CHANNELS, channels, 3, 3)
        w = weight(f"{name}.weight", random.normal(0, np.sqrt(2 / (channels * 9)), size))
        return add("Conv", name, [x, w, weight(f"{name}.bias", random.normal(0, 0.1, CHANNELS))], **attributes)

    def norm(name: str, x: str) -> str:
        parts = [
            weight(f"{name}.scale", random.uniform(0.7, 1.3, CHANNELS)),
            weight(f"{name}.shift", random.normal(0, 0.2, CHANNELS)),
            weight(f"{name}.mean", random.normal(0, 0.3, CHANNELS)),
            weight(f"{name}.var", random.uniform(0.5, 2.0, CHANNELS)),
        ]
        return add("BatchNormalization", name, [x, *parts])

    def linear(name: str, x: str, outputs: int) -> str:
        w = weight(f"{name}.weight", random.normal(0, np.sqrt(2 / CHANNELS), (outputs, CHANNELS)))
        return add("Gemm", name, [x, w, weight(f"{name}.bias", random.normal(0, 0.1, outputs))], transB=1)

    x = conv("stem", "image", 3, pads=[0, 0, 1, 1], strides=[2, 2])
    x = add("Relu", "stem.relu", [x])
    for index in range(BLOCKS):
        block = f"block{index}"
        y = conv(f"{block}.conv", x, CHANNELS, pads=[1, 1, 1, 1])
        y = norm(f"{block}.norm", y)
        y = add("Relu", f"{block}.relu", [y])
        x = add("Add", f"{block}.add", [y, x])
    gate = add("Softmax", "gate", [x], axis=1)
    x = add("Mul", "gated", [x, gate])
    x = add("GlobalAveragePool", "pool", [x])
    x = add("Flatten", "flat", [x])
    x = add("Relu", "fc1.relu", [linear("fc1", x, CHANNELS)])
    x = add("Relu", "fc2.relu", [linear("fc2", x, CHANNELS)])
    linear("scores", x, 10)
    graph = onnx.helper.make_graph(
        nodes,
        "deep",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["batch", 10])],
        weights,
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


def samples(seed: int, count: int = 16) -> NDArray[np.float32]:
    """float32 (count, 3, 16, 16)."""
    return np.random.default_rng(1000 + seed).normal(0, 1, (count, 3, 16, 16)).astype(np.float32)


def node(model: Any, output: str) -> Any:
    return next(one for one in model.graph.node if output in one.output)


def attribute(one: Any, name: str, value: Any) -> None:
    """Set an attribute of a node."""
    import onnx

    kept = [entry for entry in one.attribute if entry.name != name]
    del one.attribute[:]
    one.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def change(model: Any, weight: str, how: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Change a weight in place."""
    import onnx

    tensor = next(one for one in model.graph.initializer if one.name == weight)
    before = onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(how(before.copy()), dtype=before.dtype), weight))


def copy(model: Any) -> Any:
    made = type(model)()
    made.CopyFrom(model)
    return made


def remove_relu(model: Any) -> None:
    node(model, "block3.relu").op_type = "Identity"


def swap_padding(model: Any) -> None:
    attribute(node(model, "stem"), "pads", [1, 1, 0, 0])


def wrong_axis(model: Any) -> None:
    attribute(node(model, "gate"), "axis", 2)


def wrong_normalisation(model: Any) -> None:
    change(model, "block2.norm.var", lambda var: var[::-1])


def other_epsilon(model: Any) -> None:
    attribute(node(model, "block4.norm"), "epsilon", 1e-2)


def truncate_weight(model: Any) -> None:
    """Its last quarter is missing, as when a file was cut short."""
    change(model, "block1.conv.weight", lambda w: np.where(np.arange(len(w))[:, None, None, None] < 12, w, 0))


def transpose_gemm(model: Any) -> None:
    change(model, "fc2.weight", lambda w: w.T)


FAULTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "removed ReLU": (remove_relu, "block3.relu"),
    "swapped padding": (swap_padding, "stem"),
    "wrong axis": (wrong_axis, "gate"),
    "wrong normalisation": (wrong_normalisation, "block2.norm"),
    "truncated weight": (truncate_weight, "block1.conv"),
    "transposed Gemm": (transpose_gemm, "fc2"),
}
"""fault -> how it is planted, and the layer at fault"""
