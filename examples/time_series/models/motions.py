"""A convolutional network of signals."""

from torch import Tensor, nn


class Motions(nn.Module):
    """float32 (N, 3, 128), three axes -> scores (N, classes)."""

    def __init__(self, classes: int = 4, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(3, width, 7, stride=2, padding=3),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, 2 * width, 5, stride=2, padding=2),
            nn.BatchNorm1d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(2 * width, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
