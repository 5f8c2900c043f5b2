"""Networks of which Akida takes parts alone, with random weights, and how they are cut: of images (N, 1, 8, 8)
or signals (N, 2, 32)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recast.stages.common.dataset import Contract
from tests.lib.contracts import contract
from tests.lib.faults import Weights
from tests.lib.onnx_models import CONTRACT

CHANNELS = 8
LENGTH = 32
SIGNALS = contract("signals", (2, LENGTH), "uint8", 255.0, (0.5, 0.4), (0.5, 0.3))


@dataclass(frozen=True)
class Network:
    """How it is made, and what becomes of it."""

    make: Callable[[], Any]
    files: tuple[str, ...]
    handed_on: tuple[str, ...]
    """tensors that go to or from Akida"""
    transfer_bytes: int
    nodes_in_onnx: int
    gives: tuple[int, ...]
    share: float = 1.0
    """of the multiplications, on Akida"""
    output: str = "scores"
    contract: Contract = CONTRACT


def _model(net: Weights, output: str, shape: tuple[int, ...] = (1, 8, 8)) -> Any:
    import onnx

    made = net.model("hybrid", shape, 1, output)
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(made)


def _conv(net: Weights, name: str, x: str, channels: int) -> str:
    return net.add("Relu", f"{name}.relu", [net.conv(name, x, channels, CHANNELS, pads=[1, 1, 1, 1])])


def _pooled(net: Weights, x: str, classes: int) -> str:
    flat = net.add("Flatten", "flat", [net.add("GlobalAveragePool", "pooled", [x])])
    return net.linear("scores", flat, CHANNELS, classes)


def before() -> Any:
    """A sine in front: classification of what it gives."""
    net = Weights(0)
    x = _conv(net, "first", net.add("Sin", "wave", ["image"]), 1)
    return _model(net, _pooled(net, _conv(net, "second", x, CHANNELS), 4))


def after() -> Any:
    """Maps, of which an ONNX part makes their softmax over the channels: a spatial output."""
    net = Weights(1)
    x = _conv(net, "first", "image", 1)
    x = net.conv("head", x, CHANNELS, 3, pads=[1, 1, 1, 1])
    return _model(net, net.add("Softmax", "scores", [x], axis=1))


def between() -> Any:
    """Two parts on Akida, with a softplus between; regression of one number."""
    net = Weights(2)
    x = _conv(net, "second", _conv(net, "first", "image", 1), CHANNELS)
    x = _conv(net, "third", net.add("Softplus", "soft", [x]), CHANNELS)
    return _model(net, _pooled(net, x, 1))


def around() -> Any:
    """ONNX on both sides, and past the part on Akida: a spatial output, with the image added."""
    net = Weights(3)
    wave = net.add("Sin", "wave", ["image"])
    x = _conv(net, "first", wave, 1)
    x = net.conv("head", x, CHANNELS, 3, pads=[1, 1, 1, 1])
    return _model(net, net.add("Mul", "scores", [net.add("Tanh", "bounded", [x]), wave]))


def embedding() -> Any:
    """A unit vector."""
    net = Weights(4)
    x = _pooled(net, _conv(net, "second", _conv(net, "first", "image", 1), CHANNELS), 16)
    x = net.add("LpNormalization", "unit", [x], axis=1, p=2)
    return _model(net, x)


def detection() -> Any:
    """Boxes of a grid as rows, one for each place, and their objectness by a sigmoid."""
    import onnx

    net = Weights(5)
    x = net.conv("head", _conv(net, "first", "image", 1), CHANNELS, 5, 1)
    x = net.add("Transpose", "last", [net.add("Sigmoid", "bounded", [x])], perm=[0, 2, 3, 1])
    made = _model(net, net.add("Reshape", "boxes", [x, "rows"]))
    made.graph.initializer.append(onnx.helper.make_tensor("rows", onnx.TensorProto.INT64, [3], [0, 64, 5]))
    return onnx.shape_inference.infer_shapes(made)


def stem() -> Any:
    """One convolution of stored samples on Akida, and a sine that keeps all else in ONNX."""
    net = Weights(6)
    x = net.add("Sin", "wave", [net.conv("stem", "image", 1, CHANNELS, pads=[1, 1, 1, 1])])
    flat = net.add("Flatten", "flat", [net.add("GlobalAveragePool", "pooled", [net.add("Sin", "again", [x])])])
    return _model(net, net.add("Sin", "scores", [flat]))


def signals() -> Any:
    """Two parts on Akida, with a softplus of signals between."""
    net = Weights(7)

    def conv(name: str, x: str, channels: int) -> str:
        random = np.random.default_rng(channels)
        weight = net.weight(f"{name}.weight", random.normal(0, (2 / channels / 3) ** 0.5, (CHANNELS, channels, 3)))
        bias = net.weight(f"{name}.bias", random.normal(0, 0.1, CHANNELS))
        return net.add("Relu", f"{name}.relu", [net.add("Conv", name, [x, weight, bias], pads=[1, 1])])

    x = conv("second", conv("first", "image", 2), CHANNELS)
    x = conv("third", net.add("Softplus", "soft", [x]), CHANNELS)
    return _model(net, _pooled(net, x, 3), (2, LENGTH))


MAP = 8 * 8 * 4
"""bytes of a map of one channel"""
NETWORKS = {
    "before": Network(before, ("remainder_1.onnx", "model.fbz"), ("wave",), MAP, 1, (4,)),
    "after": Network(after, ("model.fbz", "remainder_1.onnx"), ("head",), 3 * MAP, 1, (3, 8, 8)),
    "between": Network(
        between,
        ("model.fbz", "remainder_1.onnx", "model_2.fbz"),
        ("second.relu", "soft"),
        2 * CHANNELS * MAP,
        1,
        (1,),
    ),
    "around": Network(
        around, ("remainder_1.onnx", "model.fbz", "remainder_2.onnx"), ("wave", "head"), 4 * MAP, 3, (3, 8, 8)
    ),
    "embedding": Network(embedding, ("model.fbz", "remainder_1.onnx"), ("scores",), 16 * 4, 1, (16,), output="unit"),
    "stem": Network(stem, ("model.fbz", "remainder_1.onnx"), ("stem",), CHANNELS * MAP, 5, (CHANNELS,)),
    "detection": Network(detection, ("model.fbz", "remainder_1.onnx"), ("head",), 5 * MAP, 3, (64, 5), output="boxes"),
    "signals": Network(
        signals,
        ("model.fbz", "remainder_1.onnx", "model_2.fbz"),
        ("second.relu", "soft"),
        2 * CHANNELS * LENGTH * 4,
        1,
        (3,),
        contract=SIGNALS,
    ),
}
