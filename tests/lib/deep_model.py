"""A network of 32 layers in ONNX with random weights, for the tests of parity.

float32 (N, 3, 16, 16) -> scores (N, 10): a strided convolution with uneven padding, six residual blocks, a gate
that is a softmax over channels, and three fully connected layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.lib.faults import Site, Weights

CHANNELS = 16
BLOCKS = 6


def deep(seed: int) -> Any:
    """The model; its tensors are named after what makes them: `block3.relu`."""
    net = Weights(seed)
    x = net.conv("stem", "image", 3, CHANNELS, pads=[0, 0, 1, 1], strides=[2, 2])
    x = net.add("Relu", "stem.relu", [x])
    for index in range(BLOCKS):
        block = f"block{index}"
        y = net.norm(f"{block}.norm", net.conv(f"{block}.conv", x, CHANNELS, CHANNELS, pads=[1, 1, 1, 1]), CHANNELS)
        y = net.add("Relu", f"{block}.relu", [y])
        x = net.add("Add", f"{block}.add", [y, x])
    gate = net.add("Softmax", "gate", [x], axis=1)
    x = net.add("Mul", "gated", [x, gate])
    x = net.add("GlobalAveragePool", "pool", [x])
    x = net.add("Flatten", "flat", [x])
    x = net.add("Relu", "fc1.relu", [net.linear("fc1", x, CHANNELS, CHANNELS)])
    x = net.add("Relu", "fc2.relu", [net.linear("fc2", x, CHANNELS, CHANNELS)])
    net.linear("scores", x, CHANNELS, 10)
    return net.model("deep", (3, 16, 16), 10)


def samples(seed: int, count: int = 16) -> NDArray[np.float32]:
    """float32 (count, 3, 16, 16)."""
    return np.random.default_rng(1000 + seed).normal(0, 1, (count, 3, 16, 16)).astype(np.float32)


SITES = {
    "removed ReLU": Site("block3.relu", "block3.relu"),
    "swapped padding": Site("stem", "stem.relu"),
    "wrong axis": Site("gate", "gate"),
    "wrong normalisation": Site("block2.norm", "block2.relu"),
    "truncated weight": Site("block1.conv", "block1.relu"),
    "saturating scale": Site("block4.add", "block4.add"),
    "transposed Gemm": Site("fc2", "fc2.relu"),
}
"""fault -> where it is planted"""
