"""A U-Net of one level."""

import torch
from torch import Tensor, nn


def _block(channels: int, made: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU(),
        nn.Conv2d(made, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU(),
    )  # fmt: skip


class TinyUNet(nn.Module):
    """float32 (N, 1, H, W), H and W even -> scores (N, classes, H, W)."""

    def __init__(self, classes: int = 3, width: int = 8) -> None:
        super().__init__()
        self.fine = _block(1, width)
        self.down = nn.MaxPool2d(2)
        self.coarse = _block(width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.both = _block(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        wide = self.up(self.coarse(self.down(fine)))
        return self.head(self.both(torch.cat([fine, wide], 1)))
