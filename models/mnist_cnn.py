"""BrainChip's MNIST model from its PyTorch-to-Akida workflow example."""

from __future__ import annotations

import torch
from torch import nn


class MnistCnn(nn.Module):
    """float32 (N, 1, 28, 28), normalised to [-1, 1] -> logits (N, 10).

    Source: doc.brainchipinc.com, "PyTorch to Akida workflow". 1 204 618 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=5, padding=2)
        self.relu1 = nn.ReLU6()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3, stride=2)
        self.relu2 = nn.ReLU()
        self.dropout1 = nn.Dropout(0.25)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(2304, 512)
        self.relu3 = nn.ReLU()
        self.dropout2 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(512, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.dropout1(self.relu2(self.conv2(x)))
        x = self.dropout2(self.relu3(self.fc1(self.flatten(x))))
        logits: torch.Tensor = self.fc2(x)
        return logits
