"""Two small networks for 28x28 digits whose weights are given, and where faults are planted in them.

float32 (N, 1, 28, 28) -> scores (N, 10), as `models/digits_cnn.py` and `models/lenet.py` have them. Training makes
activations that random weights have not: sparse, of uneven channels, with large outliers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.lib.faults import (
    Impossible,
    Planted,
    Site,
    Weights,
    attribute,
    change,
    channels_last,
    get,
    in_float,
    in_int8,
    node,
    weight_of,
)

Values = Mapping[str, NDArray[Any]]


class Trained(NamedTuple):
    """How it is made of its weights, its layers, and fault -> where it is planted."""

    make: Callable[[Values], Any]
    sites: dict[str, Site]
    flat: tuple[int, int, int]
    """what is flattened before the first dense layer"""


def digits_cnn(values: Values) -> Any:
    net = Weights(0, values)
    bounds = [net.weight("lowest", np.float32(0)), net.weight("highest", np.float32(6))]
    x = net.conv("conv1", "image", 1, 16, size=5, pads=[2, 2, 2, 2])
    x = net.add("Clip", "relu1", [x, *bounds])
    x = net.add("MaxPool", "pool1", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = net.conv("conv2", x, 16, 32, pads=[1, 1, 1, 1], strides=[2, 2])
    x = net.add("Flatten", "flatten", [net.add("Relu", "relu2", [x])])
    x = net.add("Relu", "relu3", [net.linear("fc1", x, 1568, 64)])
    net.linear("fc2", x, 64, 10)
    return net.model("digits_cnn", (1, 28, 28), 10, "fc2")


def lenet(values: Values, border: int = 0) -> Any:
    """`border`: of the second convolution, which Akida has only where a map keeps its size."""
    net = Weights(0, values)
    x = net.conv("features.0", "image", 1, 6, size=5, pads=[2, 2, 2, 2])
    x = net.add("Relu", "features.1", [x])
    x = net.add("MaxPool", "features.2", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = net.add("Relu", "features.4", [net.conv("features.3", x, 6, 16, size=5, pads=[border] * 4)])
    x = net.add("MaxPool", "features.5", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = net.add("Flatten", "flatten", [x])
    x = net.add("Relu", "classifier.1", [net.linear("classifier.0", x, 784 if border else 400, 120)])
    x = net.add("Relu", "classifier.3", [net.linear("classifier.2", x, 120, 84)])
    net.linear("classifier.4", x, 84, 10)
    return net.model("lenet", (1, 28, 28), 10, "classifier.4")


NETWORKS = {
    "digits_cnn": Trained(
        digits_cnn,
        {
            "removed ReLU": Site("relu3", "relu3"),
            "swapped padding": Site("conv2", "relu2"),
            "wrong axis": Site("fc1", "relu3"),
            "truncated weight": Site("conv1", "relu1"),
            "saturating scale": Site("relu2", "relu2"),
        },
        (32, 7, 7),
    ),
    "lenet": Trained(
        lenet,
        {
            "removed ReLU": Site("features.4", "features.4"),
            "swapped padding": Site("features.0", "features.1"),
            "wrong axis": Site("classifier.0", "classifier.1"),
            "truncated weight": Site("classifier.2", "classifier.3"),
            "saturating scale": Site("features.4", "features.4"),
        },
        (16, 5, 5),
    ),
}


def in_float_graph(fault: str, network: Trained) -> Planted | Impossible:
    """As `faults.in_float`, for layers with even padding, and an axis that is what is flattened."""
    site = network.sites[fault]
    if fault == "swapped padding":
        return Planted(site.layer, lambda model: _all_padding_in_front(node(model, site.layer)))
    if fault == "wrong axis":
        return Planted(
            site.layer, lambda model: change(model, f"{site.layer}.weight", lambda w: channels_last(w, network.flat))
        )
    return in_float(fault, site)


def in_int8_graph(fault: str, network: Trained) -> Planted:
    """As `faults.in_int8`, in the same way."""
    site = network.sites[fault]
    if fault == "swapped padding":
        return Planted(site.layer, lambda model: _all_padding_in_front(node(model, site.output)))
    if fault == "wrong axis":
        return Planted(
            site.layer,
            lambda model: change(model, weight_of(model, site.output), lambda w: channels_last(w, network.flat)),
        )
    return in_int8(fault, site)


def _all_padding_in_front(conv: Any) -> None:
    pads = get(conv, "pads")
    attribute(conv, "pads", [2 * pads[0], 2 * pads[1], 0, 0])
