"""The smallest network that tells digits apart, for targets where every operation costs."""

from __future__ import annotations

from torch import Tensor, nn


class TinyMlp(nn.Module):
    """float32 (N, 1, 14, 14), normalised -> logits (N, classes); one hidden layer."""

    def __init__(self, hidden: int = 10, classes: int = 10) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(14 * 14, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits
