"""One-node models whose output's shape depends on padding, rounding up, dilation or a scale, drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from recast.stages.common.onnx_models import onnx_session

OPSETS = (10, 11, 13, 18, 19, 22)
IR_VERSION = 9


def draw(random: np.random.Generator) -> Any:
    """x float32 (1, 2, height, width) -> y, by a pool, a convolution, a transposed one or a Resize."""
    opset = int(random.choice(OPSETS))
    shape = (1, 2, int(random.integers(3, 9)), int(random.integers(3, 9)))
    op = str(random.choice(["MaxPool", "AveragePool", "AveragePool", "MaxPool", "Conv", "ConvTranspose", "Resize"]))
    inputs, weights = ["x"], []
    if op == "Resize":
        scales = random.choice([0.4, 0.5, 0.7, 1.0, 1.3, 1.5, 2.0, 2.6, 0.1 * 3], 2).astype(np.float32)
        weights = [onnx.numpy_helper.from_array(np.array([1, 1, *scales], np.float32), "scales")]
        inputs = ["x", "scales"] if opset < 11 else ["x", "", "scales"]
        attributes: dict[str, Any] = {"mode": str(random.choice(["nearest", "linear"]))}
    else:
        attributes = _window(random, op, opset)
        while op != "ConvTranspose" and not _fits(attributes, shape[2:]):
            attributes = _window(random, op, opset)
        kernel = attributes["kernel_shape"]
        if "Conv" in op:
            weights = [onnx.numpy_helper.from_array(random.normal(size=(2, 2, *kernel)).astype(np.float32), "w")]
            inputs = ["x", "w"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, inputs, ["y"], op, **attributes)],
        "windowed",
        [onnx.helper.make_tensor_value_info("x", 1, shape)],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
        weights,
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=IR_VERSION)


def _window(random: np.random.Generator, op: str, opset: int) -> dict[str, Any]:
    kernel = [int(n) for n in random.integers(1, 5, 2)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": [int(n) for n in random.integers(1, 4, 2)]}
    mode = str(random.choice(["NOTSET", "NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if mode == "NOTSET":
        attributes["pads"] = [int(random.integers(0, kernel[axis % 2])) for axis in range(4)]
    else:
        attributes["auto_pad"] = mode
    if op != "AveragePool" or opset >= 19:
        attributes["dilations"] = [int(n) for n in random.choice([1, 1, 2], 2)]
    if "Pool" in op:
        attributes["ceil_mode"] = int(random.integers(0, 2))
    if op == "AveragePool":
        attributes["count_include_pad"] = int(random.integers(0, 2))
    if op == "ConvTranspose":
        most = (
            max(attributes["strides"][0], attributes["dilations"][0]),
            max(attributes["strides"][1], attributes["dilations"][1]),
        )
        attributes["output_padding"] = [int(random.integers(0, min(2, n))) for n in most]
    return attributes


def _fits(attributes: dict[str, Any], lengths: tuple[int, ...]) -> bool:
    """Whether a window lies in the padded input: of one that does not, onnxruntime makes what it can."""
    pads, dilations = attributes.get("pads", [0] * 4), attributes.get("dilations", [1, 1])
    return all(
        (attributes["kernel_shape"][axis] - 1) * dilations[axis] < length + pads[axis] + pads[2 + axis]
        for axis, length in enumerate(lengths)
    )


def of_onnxruntime(model: Any, x: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """onnxruntime's y; None if it refuses the model, or a window does not fit."""
    try:
        session = onnx_session.start(model.SerializeToString(), 1, "as_shipped", severity=4)
        (found,) = session.run(None, {"x": x})
    except Exception:  # its exceptions share no base
        return None
    return found if found.size else None


def sample(model: Any, random: np.random.Generator) -> NDArray[np.float32]:
    shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    return random.normal(size=shape).astype(np.float32)
