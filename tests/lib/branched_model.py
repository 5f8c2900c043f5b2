"""A network of branches in ONNX with random weights, for the tests of parity: what deep_model.py's chain has not.

float32 (N, 3, 16, 16) -> scores (N, 10): two residual units whose shortcut has a convolution of its own, then three
branches that are joined, one of them with a gate. Every fault is planted beside a join: behind an Add, or in a branch.
`with_if` has branches of the other sort.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.lib.faults import Site, Weights
from tests.lib.onnx_models import initializer, model

CHANNELS = 16


def branched(seed: int) -> Any:
    """The model; its tensors are named after what makes them: `unit0.relu`."""
    net = Weights(seed)
    x = net.conv("stem", "image", 3, CHANNELS, pads=[1, 1, 1, 1])
    x = net.add("Relu", "stem.relu", [net.norm("stem.norm", x, CHANNELS)])
    for index in range(2):
        unit = f"unit{index}"
        left = net.conv(f"{unit}.left1", x, CHANNELS, CHANNELS, pads=[0, 0, 1, 1], strides=[2, 2])
        left = net.add("Relu", f"{unit}.left1.relu", [net.norm(f"{unit}.left1.norm", left, CHANNELS)])
        left = net.conv(f"{unit}.left2", left, CHANNELS, CHANNELS, pads=[1, 1, 1, 1])
        left = net.norm(f"{unit}.left2.norm", left, CHANNELS)
        right = net.conv(f"{unit}.right", x, CHANNELS, CHANNELS, size=1, strides=[2, 2])
        x = net.add("Add", f"{unit}.add", [left, net.norm(f"{unit}.right.norm", right, CHANNELS)])
        x = net.add("Relu", f"{unit}.relu", [x])
    wide = net.add("Relu", "wide.relu", [net.conv("wide", x, CHANNELS, CHANNELS, pads=[1] * 4)])
    narrow = net.add("Relu", "narrow.relu", [net.conv("narrow", x, CHANNELS, CHANNELS, size=1)])
    gate = net.add("Softmax", "gate", [net.conv("key", x, CHANNELS, CHANNELS, size=1)], axis=3)
    gated = net.add("Mul", "gated", [x, gate])
    x = net.add("Concat", "joined", [wide, narrow, gated], axis=1)
    x = net.add("Relu", "merge.relu", [net.conv("merge", x, 3 * CHANNELS, CHANNELS, size=1)])
    x = net.add("Flatten", "flat", [net.add("GlobalAveragePool", "pool", [x])])
    x = net.add("Relu", "fc1.relu", [net.linear("fc1", x, CHANNELS, CHANNELS)])
    net.linear("scores", x, CHANNELS, 10)
    return net.model("branched", (3, 16, 16), 10)


SITES = {
    "removed ReLU": Site("unit1.relu", "unit1.relu"),
    "swapped padding": Site("unit1.left1", "unit1.left1.relu"),
    "wrong axis": Site("gate", "gate"),
    "wrong normalisation": Site("unit1.right.norm", "unit1.right"),
    "truncated weight": Site("narrow", "narrow.relu"),
    "saturating scale": Site("unit0.relu", "unit0.relu"),
    "transposed Gemm": Site("fc1", "fc1.relu"),
}
"""fault -> where it is planted: right behind an Add, in one of two branches that are added, in one of three joined"""


def with_if(of_a_product: bool = False) -> Any:
    """image -> Flatten -> If of the image's size, whose branches read what lies around it -> MatMul.

    `of_a_product`: a MatMul is before the Flatten, and the size is of what that gives.
    """
    import onnx

    node = onnx.helper.make_node
    port = onnx.helper.make_tensor_value_info("made", 1, None)
    then = onnx.helper.make_graph([node("Mul", ["flat", "flat"], ["made"])], "then", [], [port])
    other = onnx.helper.make_graph([node("Neg", ["flat"], ["made"])], "other", [], [port])
    nodes = [
        *([node("MatMul", ["image", "square"], ["product"], "product")] if of_a_product else []),
        node("Flatten", ["product" if of_a_product else "image"], ["flat"], "flatten"),
        node("Size", ["flat" if of_a_product else "image"], ["size"], "size"),
        node("Greater", ["size", "zero"], ["condition"], "greater"),
        node("If", ["condition"], ["chosen"], "choose", then_branch=then, else_branch=other),
        node("MatMul", ["chosen", "weight"], ["scores"], "head"),
    ]
    weights = [initializer("zero", 0, np.int64), initializer("weight", np.ones((64, 4)) / 64)]
    if of_a_product:
        weights.append(initializer("square", np.random.default_rng(0).normal(size=(8, 8)) / 3))
    return model(nodes, weights)
