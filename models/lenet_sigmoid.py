"""LeNet-5 with sigmoids and average pooling, as zero-knowledge circuits take it."""

from __future__ import annotations

import torch
from torch import nn


class LeNetSigmoid(nn.Module):
    """float32 (N, 1, 28, 28), black or white (0 or 1) -> logits (N, 10); 44 426 parameters.

    Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998; without padding.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, kernel_size=5),
            nn.Sigmoid(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, kernel_size=5),
            nn.Sigmoid(),
            nn.AvgPool2d(2),
        )
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Linear(16 * 4 * 4, 120),
            nn.Sigmoid(),
            nn.Linear(120, 84),
            nn.Sigmoid(),
            nn.Linear(84, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.flatten(self.features(x)))
        return logits
