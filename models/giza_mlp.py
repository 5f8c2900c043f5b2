"""The network of Giza's tutorial: 14x14 images, one hidden layer of ten."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class GizaMlp(nn.Module):
    """float32 (N, 1, 14, 14) -> log-probabilities (N, 10), for `loss: nll`; 2 080 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(14 * 14, 10)
        self.fc2 = nn.Linear(10, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        return F.log_softmax(self.fc2(x), dim=1)
