# environment: akida
"""The limits of blame hold on trained networks too: correct akida forms are never blamed, and planted faults are."""

from __future__ import annotations

import copy as copying
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recast.stages.common import dataset
from recast.stages.targets.akida import quantizeml_steps
from tests.lib.akida.akida_chain import Forms, forms, measured
from tests.lib.akida.akida_faults import in_akida, in_integer, in_lowered
from tests.lib.akida.digit_images import digit_images
from tests.lib.contracts import contract as contract_of
from tests.lib.faults import Impossible, Planted, Site, attribute, copy, get, node
from tests.lib.trained_model import NETWORKS as RIGHT
from tests.lib.trained_model import Trained, lenet
from tests.stages.targets.akida.test_fault_matrix import layers_at_fault

CONVERSIONS = ("lowered", "quantized", "emitted")
CONTRACT = contract_of("digits", (1, 28, 28), "uint8", 255.0, (0.5,), (0.5,), tuple("0123456789"))
BATCH, STEPS = 64, 120
# Akida pools before it applies the ReLU: what is fused gives what the pool gives
NETWORKS = {
    "digits_cnn": RIGHT["digits_cnn"]._replace(
        sites={**RIGHT["digits_cnn"].sites, "truncated weight": Site("conv1", "pool1")}
    ),
    "lenet": Trained(
        functools.partial(lenet, border=2),
        {
            "removed ReLU": Site("classifier.1", "classifier.1"),
            "wrong axis": Site("classifier.0", "classifier.1"),
            "truncated weight": Site("features.3", "features.5"),
            "saturating scale": Site("features.2", "features.2"),
        },
        (16, 7, 7),
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits") / "data"
    folder.mkdir()
    CONTRACT.write(folder)
    for seed, split in enumerate(("test", "calibration")):
        x, y = digit_images(128, seed)
        np.savez(folder / f"{split}.npz", x=x, y=y)
    return folder


def trained(name: str, seed: int, data: Path) -> Any:
    """The network in ONNX after some steps of training, which mostly gets the digits right."""
    import onnx
    import tensorflow as tf

    network = NETWORKS[name].make({})
    variables = {
        one.name: tf.Variable(start(one.name, onnx.numpy_helper.to_array(one), seed))
        for one in network.graph.initializer
    }
    parameters = [variable for key, variable in variables.items() if key.endswith((".weight", ".bias"))]
    momenta = [(tf.Variable(0 * one), tf.Variable(0 * one)) for one in parameters]

    @tf.function
    def step(x: Any, y: Any, rate: Any) -> None:
        with tf.GradientTape() as tape:
            scores = computed(network, x, variables)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, scores))
        # Adam, whose steps get smaller
        for one, slope, (mean, square) in zip(parameters, tape.gradient(loss, parameters), momenta, strict=True):
            mean.assign(0.9 * mean + 0.1 * slope)
            square.assign(0.99 * square + 0.01 * slope**2)
            one.assign_sub(rate * mean / (tf.sqrt(square) + 1e-7))

    stored, labels = digit_images(1024, 100 + seed)
    x = CONTRACT.normalise(stored)
    random = np.random.default_rng(seed)
    for count in range(STEPS):
        chosen = random.integers(0, len(x), BATCH)
        step(tf.constant(x[chosen]), tf.constant(labels[chosen]), tf.constant(3e-3 * (1 - count / STEPS)))
    test, labels = dataset.read(data, "test")
    assert (computed(network, tf.constant(test), variables).numpy().argmax(1) == labels).mean() > 0.9
    return NETWORKS[name].make({key: variable.numpy() for key, variable in variables.items()})


def start(name: str, values: NDArray[Any], seed: int) -> NDArray[np.float32]:
    """Another start for each seed: the network's own weights in another order."""
    return np.random.default_rng(seed).permutation(values.ravel()).reshape(values.shape) if values.ndim > 1 else values


def computed(network: Any, x: Any, variables: Mapping[str, Any]) -> Any:
    """The network's scores (N, 10) by TensorFlow, which can be differentiated."""
    import tensorflow as tf

    values = {"image": x, **variables}
    for one in network.graph.node:
        first, *rest = (values[key] for key in one.input)
        if one.op_type == "Conv":
            pads = [get(entry, "pads") for entry in [one] if any(part.name == "pads" for part in one.attribute)]
            margin = pads[0][0] if pads else 0
            strides = [get(one, "strides")[0] if any(part.name == "strides" for part in one.attribute) else 1] * 2
            last = tf.transpose(first, (0, 2, 3, 1))
            last = tf.pad(last, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
            made = tf.nn.conv2d(last, tf.transpose(rest[0], (2, 3, 1, 0)), strides, "VALID") + rest[1]
            made = tf.transpose(made, (0, 3, 1, 2))
        elif one.op_type == "MaxPool":
            made = tf.transpose(tf.nn.max_pool2d(tf.transpose(first, (0, 2, 3, 1)), 2, 2, "VALID"), (0, 3, 1, 2))
        elif one.op_type == "Gemm":
            made = first @ tf.transpose(rest[0]) + rest[1]
        elif one.op_type == "Flatten":
            made = tf.reshape(first, (len(first) if first.shape[0] else -1, int(np.prod(first.shape[1:]))))
        else:
            made = tf.nn.relu(first) if one.op_type == "Relu" else tf.clip_by_value(first, rest[0], rest[1])
        values[one.output[0]] = made
    return values[network.graph.output[0].name]


@pytest.fixture(scope="module")
def chain(data: Path) -> Callable[[str, str, int], Forms]:
    network = functools.cache(lambda name, seed: trained(name, seed, data))
    return functools.cache(lambda name, takes, seed: forms(network(name, seed), data, takes))


def planted(name: str, fault: str, conversion: str, right: Forms) -> Planted | Impossible:
    network = NETWORKS[name]
    site = network.sites[fault]
    if conversion == "lowered" and fault == "swapped padding":
        # of the even padding of a stride of 2, Akida drops what lies behind; here it drops what lies in front
        return Planted(site.layer, lambda model: attribute(node(model, site.layer), "pads", [0, 0, 1, 1]))
    if conversion == "lowered":
        return in_lowered(fault, site, network.flat)
    if conversion == "quantized":
        return in_integer(fault, site, network.flat)
    return in_akida(fault, site, right.quantized, network.flat)


CASES = [("stored", 0), pytest.param("normalised", 1, marks=pytest.mark.slow)]
"""what the input is, seed"""


@pytest.mark.parametrize(("takes", "seed"), CASES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_correct_trained_network_is_never_blamed(chain: Any, data: Path, name: str, takes: str, seed: int) -> None:
    found = measured(chain(name, takes, seed), dataset.read(data, "test")[0][:48])
    assert {conversion: layers_at_fault(one) for conversion, one in found.items()} == dict.fromkeys(CONVERSIONS, ())
    assert found["quantized"].agreement is not None and found["quantized"].agreement > 0.9


@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize(("takes", "seed"), CASES)
@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name in NETWORKS for fault in NETWORKS[name].sites])
def test_a_fault_in_a_trained_network_is_blamed(
    chain: Any, data: Path, name: str, fault: str, conversion: str, takes: str, seed: int
) -> None:
    right = chain(name, takes, seed)
    entry = planted(name, fault, conversion, right)
    model = {"lowered": right.simplified, "quantized": right.quantized, "emitted": right.emitted}[conversion]
    if isinstance(entry, Impossible):
        assert entry.lacks(model)
        return
    wrong = copying.deepcopy(model) if conversion == "emitted" else copy(model)
    entry.plant(wrong)
    if conversion == "lowered":
        of = replace(forms(wrong, data, takes), simplified=right.simplified)
    elif conversion == "quantized":
        of = replace(right, quantized=wrong, emitted=quantizeml_steps.to_akida(wrong).to_dict())
    else:
        of = replace(right, emitted=wrong)
    found = measured(of, dataset.read(data, "test")[0][:48])
    blamed = {key: layers_at_fault(one) for key, one in found.items()}
    assert entry.layer in blamed.pop(conversion), found[conversion].blamed
    assert blamed == dict.fromkeys(blamed, ())
