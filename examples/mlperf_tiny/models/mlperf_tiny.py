"""The four networks of MLPerf Tiny (closed division, v0.5 to v1.2), as its reference code describes them.

C. Banbury and others, "MLPerf Tiny Benchmark", NeurIPS 2021 Datasets and Benchmarks, arXiv:2106.07597, table 1.
"""

import itertools

from torch import Tensor, nn
from torch.nn import functional


def _conv(before: int, made: int, size: int | tuple[int, int], stride: int = 1, groups: int = 1) -> nn.Sequential:
    padding = size // 2 if isinstance(size, int) else 0
    return nn.Sequential(
        nn.Conv2d(before, made, size, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(made), nn.ReLU()
    )


class DsCnn(nn.Module):
    """Keyword spotting: MFCC float32 (N, 1, 10, 49) -> scores (N, 12)."""

    def __init__(self, classes: int = 12, width: int = 64) -> None:
        super().__init__()
        # what TensorFlow's "same" comes to for 10x49 values, a kernel of 4x10 and a stride of 2
        self.pad = nn.ZeroPad2d((4, 5, 1, 1))
        self.first = _conv(1, width, (4, 10), stride=2)
        self.drop = nn.Dropout(0.2)
        self.blocks = nn.Sequential(
            *(layer for _ in range(4) for layer in (_conv(width, width, 3, groups=width), _conv(width, width, 1)))
        )
        self.drop_more = nn.Dropout(0.4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        found = self.blocks(self.drop(self.first(self.pad(x))))
        return self.head(self.flat(self.pool(self.drop_more(found))))


class MobileNet(nn.Module):
    """Visual wake words: MobileNet v1 of a quarter of its width, float32 (N, 3, 96, 96) -> scores (N, 2)."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        layers, before = [_conv(3, 8, 3, stride=2)], 8
        halves, same = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)), (128, 1)
        for made, stride in (*halves, *[same] * 5, (256, 2), (256, 1)):
            layers += [_conv(before, before, 3, stride, groups=before), _conv(before, made, 1)]
            before = made
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class _Block(nn.Module):
    """Two convolutions, with their input added; where that has another size, through a convolution of 1x1."""

    def __init__(self, before: int, made: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(before, made, 3, stride)
        self.second = nn.Sequential(nn.Conv2d(made, made, 3, 1, 1, bias=False), nn.BatchNorm2d(made))
        self.beside = nn.Conv2d(before, made, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(self.first(x)) + self.beside(x))


class ResNet8(nn.Module):
    """Image classification: float32 (N, 3, 32, 32) -> scores (N, 10)."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _conv(3, 16, 3), _Block(16, 16, 1), _Block(16, 32, 2), _Block(32, 64, 2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Autoencoder(nn.Module):
    """Anomaly detection: windows of a recording, float32 (N, 640, windows) -> the same again.

    A dense layer of each window is a convolution of 1 over the windows, so that a sample is a recording, whose mean
    square error is the score by which the benchmark judges it.
    """

    def __init__(self, values: int = 640, width: int = 128, code: int = 8) -> None:
        super().__init__()
        widths = [values, *[width] * 4, code, *[width] * 4]
        layers: list[nn.Module] = []
        for before, made in itertools.pairwise(widths):
            layers += [nn.Conv1d(before, made, 1), nn.BatchNorm1d(made), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv1d(width, values, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
