"""A detector of one kind of object on a grid of 4x4 cells, and its loss."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Balls(nn.Module):
    """float32 (N, 1, 32, 32) -> (N, 5, 4, 4): the logit of a ball in the cell, and its middle and size.

    Middle (row, column) and size (height, width) are in cells, the middle from the cell's upper left corner.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, made in ((1, width), (width, 2 * width), (2 * width, 2 * width)):
            layers += [nn.Conv2d(before, made, 3, padding=1), nn.BatchNorm2d(made), nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(2 * width, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def loss(outputs: Tensor, y: Tensor) -> Tensor:
    """Outputs and labels (N, 5, 4, 4): of every cell whether there is a ball, of those that have one its box."""
    there = y[:, 0]
    found = functional.binary_cross_entropy_with_logits(outputs[:, 0], there)
    off = functional.smooth_l1_loss(outputs[:, 1:], y[:, 1:], reduction="none").sum(1)
    return found + (off * there).sum() / torch.clamp(there.sum(), min=1)
