"""Networks of operations that Akida has, with random weights, and where faults are planted in them.

float32 (N, 1, 8, 8) -> scores (N, 4), for the data of onnx_models.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.lib.faults import Site, Weights

CHANNELS = 8
SHAPE = (1, 8, 8)
FLAT = (CHANNELS, 4, 4)
"""what is flattened before fc1"""


class Network(NamedTuple):
    """How it is made of a seed, and fault -> where it is planted."""

    make: Callable[[int], Any]
    sites: dict[str, Site]


def plain(seed: int) -> Any:
    """Three convolutions, of which the last has uneven padding, and three dense layers."""
    net = Weights(seed)
    x = "image"
    for index, channels in enumerate((1, CHANNELS)):
        name = f"conv{index}"
        x = net.conv(name, x, channels, CHANNELS, pads=[1, 1, 1, 1])
        x = net.add("Relu", f"{name}.relu", [net.norm(f"{name}.norm", x, CHANNELS)])
    return _head(net, net.conv("down", x, CHANNELS, CHANNELS, pads=[0, 0, 1, 1], strides=[2, 2]))


def deep(seed: int) -> Any:
    """44 layers: seven residual blocks, then two branches that are joined."""
    net = Weights(seed)
    x = net.conv("stem", "image", 1, CHANNELS, pads=[1, 1, 1, 1])
    x = net.add("Relu", "stem.relu", [net.norm("stem.norm", x, CHANNELS)])
    for index in range(7):
        block = f"block{index}"
        y = net.norm(f"{block}.norm", net.conv(block, x, CHANNELS, CHANNELS, pads=[1, 1, 1, 1]), CHANNELS)
        x = net.add("Add", f"{block}.add", [net.add("Relu", f"{block}.relu", [y]), x])
    left = net.add("Relu", "left.relu", [net.conv("left", x, CHANNELS, CHANNELS, pads=[1, 1, 1, 1])])
    right = net.add("Relu", "right.relu", [net.conv("right", x, CHANNELS, CHANNELS, pads=[1, 1, 1, 1])])
    x = net.add("Concat", "joined", [left, right], axis=1)
    return _head(net, net.conv("down", x, 2 * CHANNELS, CHANNELS, pads=[0, 0, 1, 1], strides=[2, 2]))


def residual(seed: int) -> Any:
    """A stem that two layers read, as a ResNet has it: a block that ends with an Add, and one that halves the map."""
    net = Weights(seed)
    x = net.add("Relu", "stem.relu", [net.conv("stem", "image", 1, CHANNELS, pads=[1, 1, 1, 1])])
    y = net.add("Relu", "first.relu", [net.conv("first", x, CHANNELS, CHANNELS, pads=[1, 1, 1, 1])])
    y = net.conv("second", y, CHANNELS, CHANNELS, pads=[1, 1, 1, 1])
    x = net.add("Relu", "block.relu", [net.add("Add", "block.add", [y, x])])
    return _head(net, net.conv("down", x, CHANNELS, CHANNELS, pads=[0, 0, 1, 1], strides=[2, 2]))


def dense(seed: int) -> Any:
    """Three dense layers, whose input software quantizes."""
    net = Weights(seed)
    x = net.add("Flatten", "flat", ["image"])
    for name, inputs in (("fc1", 64), ("fc2", 16)):
        x = net.add("Relu", f"{name}.relu", [net.linear(name, x, inputs, 16)])
    net.linear("scores", x, 16, 4)
    return net.model("dense", SHAPE, 4)


def mirrored(seed: int) -> Any:
    """The image is padded by its own values in front of the first layer."""
    net = Weights(seed)
    x = net.add("Pad", "mirror", ["image", net.numbers("sides", [0, 0, 1, 1, 0, 0, 1, 1])], mode="reflect")
    x = net.add("Relu", "stem.relu", [net.conv("stem", x, 1, CHANNELS)])
    return _head(net, net.conv("down", x, CHANNELS, CHANNELS, pads=[0, 0, 1, 1], strides=[2, 2]))


def unequal(seed: int) -> Any:
    """`dense`, with channels of its hidden layers larger or smaller by up to 16, and the weights behind by as much."""
    import onnx

    made = dense(seed)
    weights = {one.name: one for one in made.graph.initializer}
    random = np.random.default_rng(1)
    for layer, behind in (("fc1", "fc2"), ("fc2", "scores")):
        by = 2.0 ** np.rint(random.uniform(-4, 4, 16))
        for name, scale in ((f"{layer}.weight", by[:, None]), (f"{layer}.bias", by), (f"{behind}.weight", 1 / by)):
            scaled = onnx.numpy_helper.to_array(weights[name]) * scale
            weights[name].CopyFrom(onnx.numpy_helper.from_array(scaled.astype(np.float32), name))
    return made


def _head(net: Weights, x: str) -> Any:
    x = net.add("Flatten", "flat", [net.add("Relu", "down.relu", [x])])
    x = net.add("Relu", "fc1.relu", [net.linear("fc1", x, FLAT[0] * FLAT[1] * FLAT[2], 16)])
    x = net.add("Relu", "fc2.relu", [net.linear("fc2", x, 16, 16)])
    net.linear("scores", x, 16, 4)
    return net.model("network", SHAPE, 4)


NETWORKS = {
    "plain": Network(
        plain,
        {
            "removed ReLU": Site("conv1.relu", "conv1.relu"),
            "swapped padding": Site("down", "down.relu"),
            "wrong axis": Site("fc1", "fc1.relu"),
            "wrong normalisation": Site("conv1.norm", "conv1.relu"),
            "truncated weight": Site("conv0", "conv0.relu"),
            "saturating scale": Site("conv1.relu", "conv1.relu"),
            "transposed Gemm": Site("fc2", "fc2.relu"),
        },
    ),
    # behind an Add, in one of two branches, and behind their join
    "deep": Network(
        deep,
        {
            "removed ReLU": Site("left.relu", "left.relu"),
            "swapped padding": Site("down", "down.relu"),
            "wrong axis": Site("fc1", "fc1.relu"),
            "wrong normalisation": Site("block2.norm", "block2.relu"),
            "truncated weight": Site("right", "right.relu"),
            "saturating scale": Site("block4.add", "block4.add"),
            "transposed Gemm": Site("fc2", "fc2.relu"),
        },
    ),
}
