# environment: torch
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recast.stages.base import StageError
from recast.stages.trunk.faults import batch_mixing, model_faults


class Recurrent(nn.Module):
    """A sequence of rows; `batch_first` or not."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 5, batch_first=batch_first)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.rnn(x.flatten(1, 2))
        return self.head(steps[:, -1])


class Attention(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1, 2)
        mixed, _ = self.attention(rows, rows, rows)
        return self.head(mixed.flatten(1))


class Expression(nn.Module):
    """One expression over axis 0, before a layer."""

    def __init__(self, expression: str) -> None:
        super().__init__()
        self.expression = expression
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        if self.expression == "softmax":
            flat = flat.softmax(0)
        elif self.expression == "mean":
            flat = flat - flat.mean(0)
        elif self.expression == "roll":
            flat = flat.roll(1, 0)
        elif self.expression == "normalised":
            flat = flat / flat.norm()
        return self.head(flat)


def normalised(statistics: bool) -> nn.Module:
    norm = nn.BatchNorm2d(1, track_running_stats=statistics)
    return nn.Sequential(norm, nn.Flatten(), nn.Linear(64, 4))


MIXING = {
    "rnn (LSTM)": lambda: Recurrent(batch_first=False),
    "attention (MultiheadAttention)": lambda: Attention(batch_first=False),
    "0 (BatchNorm2d)": lambda: normalised(statistics=False),
    "softmax": lambda: Expression("softmax"),
    "sub": lambda: Expression("mean"),
    "roll": lambda: Expression("roll"),
    "truediv": lambda: Expression("normalised"),
}
APART = {
    "recurrent": lambda: Recurrent(batch_first=True),
    "attention": lambda: Attention(batch_first=True),
    "normalised": lambda: normalised(statistics=True),
    "plain": lambda: Expression("none"),
}
X = np.random.default_rng(0).normal(size=(12, 1, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("layer", MIXING)
def test_a_model_that_mixes_samples_is_refused_and_its_layer_named(layer: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(StageError, match=r"models\.x:X mixes the samples of a batch") as caught:
        batch_mixing.check_torch(MIXING[layer]().eval(), X, "models.x:X")
    assert f"the first layer that does is {layer}" in caught.value.message
    assert "batch_first=True" in caught.value.remedy


@pytest.mark.parametrize("name", APART)
def test_a_model_that_keeps_them_apart_passes(name: str) -> None:
    torch.manual_seed(0)
    batch_mixing.check_torch(APART[name]().eval(), X, "models.x:X")


def test_dropout_that_stays_active_is_random_and_no_mixing() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Dropout())
    model.eval()
    model[2].train()
    with pytest.raises(StageError, match="something in it is random"):
        batch_mixing.check_torch(model, X, "models.x:X")


def test_the_layer_is_named_where_its_calls_are_not_seen() -> None:
    torch.manual_seed(0)
    with pytest.raises(StageError, match=r"the first layer that does is rnn \(LSTM\)") as caught:
        model_faults.refuse(Recurrent(batch_first=False).eval(), torch.from_numpy(X), "models.x:X")
    assert "batch_first=True" in caught.value.remedy
