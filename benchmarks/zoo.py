"""Forty networks of the kinds that people ship to devices, small, for `networks.py`. Needs torch."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as f


def conv(into: int, out: int, stride: int = 1, groups: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU."""
    layer = nn.Conv2d(into, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out), nn.ReLU())


def conv1(into: int, out: int, kernel: int = 5, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """The same over one axis."""
    layer = nn.Conv1d(into, out, kernel, stride, dilation * (kernel // 2), dilation)
    return nn.Sequential(layer, nn.BatchNorm1d(out), nn.ReLU())


def pooled(features: int, classes: int) -> nn.Sequential:
    """Mean of all places, then scores."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes))


class Residual(nn.Module):
    """What a body adds to its input."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


# -- MLPerf Tiny


class KeywordSpotting(nn.Sequential):
    """DS-CNN over 49 frames of 10 MFCCs."""

    def __init__(self) -> None:
        blocks = [part for _ in range(4) for part in (conv(32, 32, groups=32), conv(32, 32, kernel=1))]
        super().__init__(conv(1, 32, 2), *blocks, pooled(32, 12))


class VisualWakeWords(nn.Sequential):
    """MobileNetV1 of a quarter's width."""

    def __init__(self) -> None:
        widths = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2)]
        blocks = [part for a, b, s in widths for part in (conv(a, a, s, groups=a), conv(a, b, kernel=1))]
        super().__init__(conv(3, 8, 2), *blocks, pooled(64, 2))


class ResNet8(nn.Sequential):
    """Three residual stages."""

    def __init__(self) -> None:
        def block(width: int) -> nn.Sequential:
            body = nn.Sequential(conv(width, width), nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))
            return nn.Sequential(Residual(body), nn.ReLU())

        super().__init__(conv(3, 16), block(16), conv(16, 32, 2), block(32), conv(32, 64, 2), block(64), pooled(64, 10))


class AnomalyDetection(nn.Sequential):
    """Dense autoencoder of ToyADMOS' frames."""

    def __init__(self) -> None:
        widths = [128, 64, 64, 8, 64, 64]
        layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
        super().__init__(*layers, nn.Linear(64, 128))


# -- images


class DetectionHead(nn.Module):
    """YOLO-like: two scales, of each boxes and scores in one map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 2), conv(16, 32, 2))
        self.deep, self.fine, self.coarse = conv(32, 64, 2), nn.Conv2d(96, 21, 1), nn.Conv2d(64, 21, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.stem(x)
        deep = self.deep(fine)
        up = f.interpolate(deep, scale_factor=2.0, mode="nearest")
        return {"fine": self.fine(torch.cat([fine, up], 1)), "coarse": self.coarse(deep)}


class ClassAndBox(nn.Module):
    """Scores and one box."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, 2), conv(16, 32, 2), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.scores, self.box = nn.Linear(128, 5), nn.Linear(128, 4)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        seen = self.body(image)
        return {"scores": self.scores(seen), "box": self.box(seen).sigmoid()}


class UNet(nn.Module):
    """One level, a transposed convolution up."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.down, self.deep = conv(3, 8), nn.Sequential(nn.MaxPool2d(2), conv(8, 16))
        self.up, self.head = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(16, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.down(x)
        return self.head(torch.cat([wide, self.up(self.deep(wide))], 1))


class AgeRegression(nn.Sequential):
    """A number of an image."""

    def __init__(self) -> None:
        super().__init__(conv(3, 16, 2), conv(16, 32, 2), pooled(32, 1))


class FaceEmbedding(nn.Module):
    """A unit vector."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, 2), conv(16, 32, 2), pooled(32, 32))

    def forward(self, x: Tensor) -> Tensor:
        return f.normalize(self.body(x), dim=1)


class Attention(nn.Module):
    """Pre-norm transformer layer, written out."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.norm, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-2, -1) / (c // self.heads) ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], -1e4)
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, c))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Patches of 8x8, two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.place = nn.Conv2d(3, 24, 8, 8), nn.Parameter(torch.randn(1, 16, 24) * 0.1)
        self.layers, self.head = nn.ModuleList([Attention(24), Attention(24)]), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.place
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


class SuperResolution(nn.Sequential):
    """ESPCN: PixelShuffle."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 16, 5, padding=2), nn.Tanh(), nn.Conv2d(16, 4, 3, padding=1), nn.PixelShuffle(2))


class StyleTransfer(nn.Sequential):
    """InstanceNorm, upsampling, reflection."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.ReflectionPad2d(1), nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, 2, 1), nn.InstanceNorm2d(16, affine=True), nn.ReLU()),
            *(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(16, 3, 3, padding=1)),
        )


class Depth(nn.Sequential):
    """Bilinear decoder, one value per pixel."""

    def __init__(self) -> None:
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        super().__init__(
            conv(3, 8, 2), conv(8, 16, 2), up, conv(16, 8), up, nn.Conv2d(8, 1, 3, padding=1), nn.Softplus()
        )


class Keypoints(nn.Sequential):
    """Heatmaps by transposed convolutions."""

    def __init__(self) -> None:
        super().__init__(
            conv(3, 8, 2),
            conv(8, 16, 2),
            nn.ConvTranspose2d(16, 16, 4, 2, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 5, 1),
        )


class Denoiser(nn.Sequential):
    """DnCNN: the noise is taken off."""

    def __init__(self) -> None:
        super().__init__(Residual(nn.Sequential(conv(1, 16), conv(16, 16), nn.Conv2d(16, 1, 3, padding=1))))


class MobileNetV3Block(nn.Module):
    """Squeeze and excitation, hard swish."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish())
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 4, 1), nn.ReLU(), nn.Conv2d(4, 16, 1), nn.Hardsigmoid()
        )
        self.deep, self.head = nn.Conv2d(16, 16, 5, padding=2, groups=16), pooled(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(f.hardswish(self.deep(x * self.squeeze(x))))


class ConvNeXtBlock(nn.Module):
    """7x7 depthwise, LayerNorm over channels, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 7, padding=3, groups=16)
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)
        self.head = pooled(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.down(f.gelu(self.up(self.norm(self.wide(x).permute(0, 2, 3, 1)))))
        return self.head(x + y.permute(0, 3, 1, 2))


class ShuffleNetUnit(nn.Module):
    """Groups, shuffled channels, halves."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.side, self.head = conv(3, 16, 2), conv(8, 8, groups=8), pooled(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, 1)
        x = torch.cat([left, self.side(right)], 1)
        n, c, h, w = x.shape
        return self.head(x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


class Mixer(nn.Module):
    """MLP-Mixer, one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm, self.head = nn.Conv2d(3, 16, 8, 8), nn.LayerNorm(16), nn.Linear(16, 10)
        self.places = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.places(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return self.head(x.mean(1))


class MultiLabel(nn.Sequential):
    """A logit for each tag."""

    def __init__(self) -> None:
        super().__init__(conv(3, 16, 2), conv(16, 16, 2), pooled(16, 6))


class SiameseImages(nn.Module):
    """Two images, one encoder, their cosine."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(1, 8, 2), conv(8, 16, 2), pooled(16, 16))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return (self.encoder(left) * self.encoder(right)).sum(1, keepdim=True)


class VariationalEncoder(nn.Module):
    """Mean and logarithm of the variance."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mean, self.logvar = (
            nn.Sequential(conv(1, 8, 2), nn.Flatten()),
            nn.LazyLinear(4),
            nn.LazyLinear(4),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.body(x)
        return self.mean(seen), self.logvar(seen)


class Video(nn.Sequential):
    """Convolutions over frames, rank 5."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 4)
        )


# -- tables


class TabularRegression(nn.Sequential):
    """Two numbers of eight columns."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))


class BinaryTable(nn.Sequential):
    """One logit."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(8, 16), nn.SELU(), nn.Linear(16, 1))


class Recommender(nn.Module):
    """User and item, each an id: a product of embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(30, 8), nn.Embedding(50, 8)
        self.head = nn.Linear(16, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return self.head(torch.cat([self.users(user), self.items(item)], -1)).flatten(1)


class ClickThrough(nn.Module):
    """DLRM: numbers and ids."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.dense = nn.Embedding(40, 8), nn.Sequential(nn.Linear(5, 8), nn.ReLU())
        self.head = nn.Linear(8 + 3, 1)

    def forward(self, numbers: Tensor, ids: Tensor) -> Tensor:
        dense, rows = self.dense(numbers), self.table(ids)
        return self.head(torch.cat([dense, (rows @ dense[:, :, None]).squeeze(-1)], 1)).sigmoid()


class ActorCritic(nn.Module):
    """A policy and a value."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.policy, self.value = (
            nn.Sequential(nn.Linear(6, 32), nn.Tanh()),
            nn.Linear(32, 4),
            nn.Linear(32, 1),
        )

    def forward(self, state: Tensor) -> dict[str, Tensor]:
        seen = self.body(state)
        return {"policy": self.policy(seen).softmax(-1), "value": self.value(seen)}


class GraphNetwork(nn.Module):
    """Nodes and the matrix of their edges."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 16), nn.Linear(16, 3)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        return (edges @ self.second(torch.relu(edges @ self.first(nodes)))).mean(1)


class PointNet(nn.Module):
    """A set of points, the greatest over all."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(conv1(3, 16, 1), conv1(16, 32, 1)), nn.Linear(32, 5)

    def forward(self, points: Tensor) -> Tensor:
        return self.head(self.body(points).amax(2))


# -- signals


class Ecg(nn.Sequential):
    """Residual convolutions over one lead."""

    def __init__(self) -> None:
        body = nn.Sequential(conv1(16, 16), nn.Conv1d(16, 16, 5, padding=2))
        super().__init__(
            conv1(1, 16, 7, 2), Residual(body), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 5)
        )


class Causal(nn.Module):
    """TCN: dilated, padded on the left."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(2 if d == 1 else 8, 8, 3, dilation=d) for d in (1, 2, 4)])
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer(f.pad(x, (2 * layer.dilation[0], 0))))
        return self.head(x[:, :, -1])


class AudioAutoencoder(nn.Sequential):
    """Strided down, transposed up."""

    def __init__(self) -> None:
        super().__init__(nn.Conv1d(1, 8, 8, 4, 2), nn.ELU(), nn.ConvTranspose1d(8, 1, 8, 4, 2))


class LstmActivity(nn.Module):
    """Six channels of a wearable, the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(6, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x.transpose(1, 2))[0][:, -1])


class GruForecast(nn.Module):
    """Bidirectional, a value for each of four steps to come."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(2, 12, batch_first=True, bidirectional=True), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x.transpose(1, 2))[0].mean(1))


class SpeechCrnn(nn.Module):
    """Convolutions, a GRU, scores of letters for each frame (CTC)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru, self.head = conv(1, 4), nn.GRU(4 * 16, 24, batch_first=True), nn.Linear(24, 11)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.conv(x)
        n, c, bands, time = seen.shape
        steps = seen.permute(0, 3, 1, 2).reshape(n, time, c * bands)
        return self.head(self.gru(steps)[0]).log_softmax(-1)


class Forecast(nn.Module):
    """N-BEATS: what was, and what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 30))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        back, fore = self.body(x).split([24, 6], 1)
        return x - back, fore


# -- text


class TextMean(nn.Module):
    """The mean of the words' vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(60, 16), nn.Linear(16, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.words(tokens).mean(1))


class TextTransformer(nn.Module):
    """Tokens and which of them are there."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer, self.head = nn.Embedding(60, 16), Attention(16), nn.Linear(16, 3)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        seen = self.layer(self.words(tokens), mask)
        kept = mask[:, :, None].to(seen.dtype)
        return self.head((seen * kept).sum(1) / kept.sum(1).clamp(min=1))


class TextLstm(nn.Module):
    """Embedding, LSTM, a tag for each word."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm, self.head = nn.Embedding(60, 12), nn.LSTM(12, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.words(tokens))[0])
