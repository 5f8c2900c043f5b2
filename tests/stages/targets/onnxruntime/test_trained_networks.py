# environment: torch
"""The limits of blame hold on trained networks too: correct int8 forms are never blamed, and planted faults are."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from models.digits_cnn import DigitsCnn
from models.lenet import LeNet
from tests.lib.faults import Impossible, copy
from tests.lib.onnxruntime_chain import int8, layers_at_fault, measured, prepared
from tests.lib.trained_model import NETWORKS, in_float_graph, in_int8_graph

MODELS: dict[str, type[nn.Module]] = {"digits_cnn": DigitsCnn, "lenet": LeNet}
CONVERSIONS = ("prepared", "quantized", "emitted")
EPOCHS = 4
METHODS = ("minmax", "entropy", "percentile")


@functools.cache
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """scikit-learn's digits, enlarged to (N, 1, 28, 28) and from -1 to 1."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    small = torch.from_numpy((loaded.images / 8 - 1).astype(np.float32))[:, None]
    return F.interpolate(small, (28, 28), mode="bilinear").numpy(), loaded.target


@functools.cache
def trained(name: str, seed: int) -> Any:
    """The network in ONNX after a few epochs on all but the last 500 digits, which it mostly gets right."""
    torch.manual_seed(seed)
    x, y = digits()
    model = MODELS[name]()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    inputs, labels = torch.from_numpy(x[:-500]), torch.from_numpy(y[:-500])
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(torch.from_numpy(x[-500:])).argmax(1).numpy() == y[-500:]).mean()
    assert accuracy > 0.8
    return NETWORKS[name].make({key: value.numpy() for key, value in model.state_dict().items()})


def forms(model: Any, folder: Path, method: str = "minmax", **scheme: Any) -> dict[str, Any]:
    ready = prepared(model, folder)
    quantized = int8(ready, folder, digits()[0][:128], method, **scheme)
    return {"simplified": model, "prepared": ready, "quantized": quantized, "emitted": quantized}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], dict[str, Any]]:
    return functools.cache(lambda name, seed: forms(trained(name, seed), tmp_path_factory.mktemp("trained")))


SEEDS = [0, pytest.param(1, marks=pytest.mark.slow)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_correct_trained_network_is_never_blamed(tmp_path: Path, name: str, seed: int) -> None:
    for method in METHODS:
        for scheme in ({}, {"per_channel": False}, {"activation_type": "int8"}):
            folder = tmp_path / f"{method}{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            found = measured(forms(trained(name, seed), folder, method, **scheme), digits()[0][-64:])
            assert {conversion: layers_at_fault(one) for conversion, one in found.items()} == dict.fromkeys(
                CONVERSIONS, ()
            ), (
                method,
                scheme,
            )
            assert found["quantized"].agreement is not None and found["quantized"].agreement > 0.9


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("fault", NETWORKS["lenet"].sites)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_fault_in_a_trained_network_is_blamed(
    chain: Any, tmp_path: Path, name: str, fault: str, conversion: str, seed: int
) -> None:
    network = NETWORKS[name]
    models = dict(chain(name, seed))
    entry = in_float_graph(fault, network) if conversion == "prepared" else in_int8_graph(fault, network)
    if isinstance(entry, Impossible):
        assert entry.lacks(models[conversion])
        return
    source = copy(models["simplified" if conversion == "prepared" else conversion])
    entry.plant(source)
    models |= (
        {key: form for key, form in forms(source, tmp_path).items() if key != "simplified"}
        if conversion == "prepared"
        else dict.fromkeys(CONVERSIONS[CONVERSIONS.index(conversion) :], source)
    )
    found = measured(models, digits()[0][-64:])
    blamed = {key: layers_at_fault(one) for key, one in found.items()}
    assert entry.layer in blamed.pop(conversion), found[conversion].blamed
    assert blamed == dict.fromkeys(blamed, ())
