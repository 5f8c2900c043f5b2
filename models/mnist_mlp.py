"""A multilayer perceptron for 28x28 images."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class MnistMlp(nn.Module):
    """float32 (N, 1, 28, 28), normalised -> log-probabilities (N, 10), for `loss: nll`; 109 386 parameters."""

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        self.fc1 = nn.Linear(28 * 28, hidden)
        self.fc2 = nn.Linear(hidden, 64)
        self.fc3 = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return F.log_softmax(self.fc3(x), dim=1)
