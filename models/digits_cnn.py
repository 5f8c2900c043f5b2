"""A small relative of MnistCnn, for the 1 797 images of scikit-learn's digits."""

from __future__ import annotations

import torch
from torch import nn


class DigitsCnn(nn.Module):
    """float32 (N, 1, 28, 28), normalised to [-1, 1] -> logits (N, 10).

    MnistCnn's layers with half the filters and an eighth of the hidden units: 106 122 parameters,
    so it trains in seconds and is quick to prove, quantize and compile. conv2 keeps its border
    (padding 1) because Akida's hardware has no convolution without one; 32 filters of 7x7 stay
    below the 2048 inputs that its fully connected layers take.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=5, padding=2)
        self.relu1 = nn.ReLU6()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1)
        self.relu2 = nn.ReLU()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(1568, 64)
        self.relu3 = nn.ReLU()
        self.dropout = nn.Dropout(0.25)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.relu2(self.conv2(x))
        x = self.dropout(self.relu3(self.fc1(self.flatten(x))))
        logits: torch.Tensor = self.fc2(x)
        return logits
