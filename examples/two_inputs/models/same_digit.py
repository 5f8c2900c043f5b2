"""One network that looks at both images, and another that compares what it saw."""

import torch
from torch import Tensor, nn


class SameDigit(nn.Module):
    """Two images, float32 (N, 1, 8, 8) each -> the logit (N, 1) of their being one digit."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * width, 32), nn.ReLU(),
        )  # fmt: skip
        self.compare = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        one, other = self.look(left), self.look(right)
        # the same for both orders of the images
        return self.compare(torch.cat([one * other, (one - other) ** 2], 1))
