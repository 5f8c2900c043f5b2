# environment: torch
"""Every fault at the conversion from PyTorch to ONNX, through both exporters: blamed on its layer, and on no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.lib.faults import (
    FAULTS,
    Impossible,
    Planted,
    attribute,
    change,
    copy,
    get,
    has_no_scales,
    without_last_quarter,
)
from tests.stages.parity.test_layer_names import EXPORTERS, Net, conversion, exported, traced


class Unit(nn.Module):
    """Two branches that are added."""

    def __init__(self) -> None:
        super().__init__()
        self.left1 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.left1_norm = nn.BatchNorm2d(8)
        self.left2 = nn.Conv2d(8, 8, 3, padding=1)
        self.left2_norm = nn.BatchNorm2d(8)
        self.right = nn.Conv2d(8, 8, 1, stride=2)
        self.right_norm = nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = self.left2_norm(self.left2(F.relu(self.left1_norm(self.left1(x)))))
        return F.relu(left + self.right_norm(self.right(x)))


class Branches(nn.Module):
    """Branches that are added, and three that are joined, of which one has a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.units = nn.Sequential(Unit(), Unit())
        self.wide = nn.Conv2d(8, 8, 3, padding=1)
        self.narrow = nn.Conv2d(8, 8, 1)
        self.key = nn.Conv2d(8, 8, 1)
        self.fc1 = nn.Linear(24, 24)
        self.head = nn.Linear(24, 5)
        for one in self.modules():
            if isinstance(one, nn.Conv2d):  # so that what is behind is not mostly the biases
                nn.init.kaiming_normal_(one.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.units(F.relu(self.stem(x)))
        gated = x * torch.softmax(3 * self.key(x), dim=3)
        x = torch.cat([F.relu(self.wide(x)), F.relu(self.narrow(x)), gated], dim=1)
        return self.head(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1).flatten(1))))


NETWORKS: dict[str, type[nn.Module]] = {"deep": Net, "branched": Branches}
SITES: dict[str, dict[str, str]] = {
    "deep": {
        "removed ReLU": "blocks.1.act",
        "swapped padding": "stem",
        "wrong axis": "softmax",
        "wrong normalisation": "blocks.2.bn1",
        "truncated weight": "blocks.1.conv2",
        "transposed Gemm": "fc1",
    },
    "branched": {
        "removed ReLU": "units.1.relu_1",
        "swapped padding": "units.1.left1_norm",
        "wrong axis": "softmax",
        "wrong normalisation": "units.1.right_norm",
        "truncated weight": "narrow",
        "transposed Gemm": "fc1",
    },
}
"""network -> fault -> the layer at fault, which a convolution is fused with if it has a normalisation"""
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 3))]


def swap_padding(model: Any, one: Any) -> None:
    if all(part.name != "pads" for part in one.attribute) or not any(get(one, "pads")):
        # the older exporter pads before the convolution
        pads = next(entry for entry in model.graph.node if entry.op_type == "Pad").input[1]
        for maker in [entry for entry in model.graph.node if pads in entry.output]:
            model.graph.node.remove(maker)
        for weight in [entry for entry in model.graph.initializer if entry.name == pads]:
            model.graph.initializer.remove(weight)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 0, 0]), pads))
        return
    before = get(one, "pads")
    even = before[:2] == before[2:]
    attribute(one, "pads", [2 * before[0], 2 * before[1], 0, 0] if even else before[2:] + before[:2])


def softmax_of(model: Any, one: Any) -> Any:
    return one if one.op_type == "Softmax" else next(made for made in model.graph.node if one.input[0] in made.output)


PLANTS: dict[str, Callable[[Any, Any], object]] = {
    "removed ReLU": lambda model, one: setattr(one, "op_type", "Identity"),
    "swapped padding": swap_padding,
    # the older exporter puts a Transpose behind it, which gives the layer's output
    "wrong axis": lambda model, one: attribute(softmax_of(model, one), "axis", 2),
    "wrong normalisation": lambda model, one: change(model, one.input[2], lambda bias: bias[::-1]),
    "truncated weight": lambda model, one: change(model, one.input[1], without_last_quarter),
    "transposed Gemm": lambda model, one: change(model, one.input[1], lambda w: w.T),
}
"""fault -> how it is planted in the node of its layer"""


def entry(network: str, fault: str, tensors: dict[str, str]) -> Planted | Impossible:
    """`tensors`: layer -> the tensor that it gives."""
    if fault == "saturating scale":
        return Impossible("the exported model is float and has no scales", has_no_scales)
    layer = SITES[network][fault]

    def plant(model: Any) -> None:
        PLANTS[fault](model, next(one for one in model.graph.node if tensors[layer] in one.output))

    return Planted(layer, plant)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_correct_export_of_branches_is_never_blamed(exporter: str, seed: int, tmp_path: Path) -> None:
    found = conversion(*exported(exporter, seed, Branches), tmp_path)
    assert found.blamed is None and found.output.sqnr_db > 100
    assert len(found.layers) >= 24


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_fault_of_the_export_is_blamed_on_its_layer(
    network: str, exporter: str, fault: str, seed: int, tmp_path: Path
) -> None:
    proto, sampled, x = exported(exporter, seed, NETWORKS[network])
    tensors = {layer: tensor for tensor, (layer, _) in traced(proto, sampled, x).items()}
    planted = entry(network, fault, tensors)
    wrong = copy(proto)
    if isinstance(planted, Impossible):
        assert planted.lacks(wrong)
        return
    planted.plant(wrong)
    found = conversion(wrong, sampled, x, tmp_path)
    assert found.blamed is not None
    # the older exporter has padding as a layer of its own
    at_fault = {planted.layer, "pad"} if fault == "swapped padding" and network == "deep" else {planted.layer}
    assert at_fault & {*found.blamed.covers, found.blamed.layer}, found.blamed
    # what is fused cannot be told apart, but nothing else may be blamed
    assert len(found.blamed.covers) <= 1


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize(
    ("index", "how", "layer"),
    [
        (6, lambda w: (w.view(np.uint32) & 0xFFFF0000).view(np.float32), "blocks.2.conv2"),
        (3, lambda w: w * (np.abs(w) > 0.05), "blocks.1.conv1"),
    ],
    ids=["weight in bfloat16", "small weights of a fused layer cut off"],
)
def test_a_weight_that_lost_digits_is_blamed(exporter: str, index: int, how: Any, layer: str, tmp_path: Path) -> None:
    proto, sampled, x = exported(exporter, 0)
    wrong = copy(proto)
    convolutions = [one for one in wrong.graph.node if one.op_type == "Conv"]
    change(wrong, convolutions[index].input[1], how)
    found = conversion(wrong, sampled, x, tmp_path)
    assert found.blamed is not None and layer in (*found.blamed.covers, found.blamed.layer)
