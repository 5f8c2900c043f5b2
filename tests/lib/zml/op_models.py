"""Models that use every operation the zml target writes, and what a stage of theirs reads. Needs torch.

Run as a program it emits them, for tests in an environment without torch:
`python -m tests.lib.zml.op_models FOLDER`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from models.lenet import LeNet
from models.mnist_mlp import MnistMlp
from recast.stages.base import Inputs, ModelReference
from recast.stages.common.torch_models.weights import write_weights
from tests.lib.contracts import contract as contract_of

CLASSES = ("a", "b", "c", "d")
HERE = "tests.lib.zml.op_models"


class Residual(nn.Module):
    """A block with code between its layers, the shapes kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding="same", bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels, affine=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu6(self.norm2(self.conv2(y)) + x)


class Functions(nn.Module):
    """(N, 8, 12, 4) -> the same, by functions where layers are usual."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8, 1, 1))
        self.bias = nn.Parameter(torch.randn(8))
        self.matrix = nn.Parameter(torch.randn(8, 8))
        self.register_buffer("mean", torch.randn(8))
        self.register_buffer("variance", torch.rand(8) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.conv2d(x, self.weight, self.bias)
        x = F.batch_norm(x, self.mean, self.variance, eps=1e-3)
        x = F.avg_pool2d(x, 3, stride=1, padding=1)
        y = F.linear(x.permute(0, 2, 3, 1), self.matrix).permute(0, 3, 1, 2)
        y = F.layer_norm(y, [12, 4])
        y = 1 / (2 + F.relu(-y)) - y / 3 + (1 - y)
        return (
            F.gelu(x, approximate="tanh") + y.flatten(1).unflatten(1, (8, 12, 4)).unsqueeze(1).squeeze(1).contiguous()
        )


class Images(nn.Module):
    """(N, 3, 12, 10) -> (N, 4): convolutions, pools, norms, activations as modules and as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, (3, 5), stride=(1, 2), padding=(2, 1), dilation=(2, 1))
        self.error = nn.SiLU()  # a keyword of Zig
        self.block = Residual(8)
        self.functions = Functions()
        self.branches = nn.ModuleList([nn.Conv2d(8, 8, 3, groups=4, padding=1), nn.Conv2d(8, 8, 1, groups=8)])
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.adapt = nn.AdaptiveAvgPool2d((6, 1))
        self.average = nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False)
        self.padded = nn.AvgPool2d((3, 2), stride=1, padding=(1, 0))
        self.scale = nn.Parameter(torch.rand(16, 1, 1) + 0.5)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.5))
        self.idle = nn.Sequential(nn.Identity(), nn.Dropout1d(), nn.AlphaDropout(), nn.ReLU())
        self.shape = nn.Sequential(nn.Unflatten(1, (3, 2, 2)), nn.Dropout2d(), nn.Flatten())
        self.tied = nn.Linear(12, 12, bias=False)
        self.again = nn.Linear(12, 12)
        self.again.weight = self.tied.weight
        self.out = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.functions(self.block(self.error(self.stem(x))))
        x = torch.cat([F.gelu(self.branches[0](x)), torch.sigmoid(self.branches[1](x))], dim=1)
        x = F.max_pool2d(x, 2, stride=1, dilation=1)
        x = self.padded(self.average(self.adapt(self.pool(x)))) * self.scale
        x = self.head(F.adaptive_avg_pool2d(x, (1, 1)))
        x = self.again(torch.tanh(self.tied(self.idle(self.shape(x)))))
        return F.log_softmax(self.out(F.dropout(x, 0.3, self.training)), dim=-1)


class Signals(nn.Module):
    """(N, 2, 20) -> (N, 4): what goes over one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(2, 8, 5, stride=2, padding=2)
        self.norm1 = nn.InstanceNorm1d(8, affine=True)
        self.wide = nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=4, bias=False)
        self.norm2 = nn.GroupNorm(2, 8)
        self.pool = nn.MaxPool1d(3, stride=1, padding=1)
        self.average = nn.AvgPool1d(2)
        self.adapt = nn.AdaptiveAvgPool1d(1)
        self.out = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(F.relu(self.norm1(self.stem(x))))
        x = self.average(self.norm2(self.wide(x))) + F.avg_pool1d(x, 2)
        return self.out(self.adapt(x).flatten(1))


class Pixels(nn.Module):
    """(N, 3, 6, 5) -> (N, 4): what makes maps larger."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.InstanceNorm2d(8)
        self.up = nn.Upsample(scale_factor=2)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.transposed = nn.ConvTranspose2d(8, 6, (3, 2), stride=2, padding=(1, 0), output_padding=(1, 0))
        self.nearest = nn.UpsamplingNearest2d(scale_factor=2)
        self.wide = nn.ConvTranspose2d(6, 16, 3, padding=2, dilation=2, bias=False)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down(self.up(F.relu(self.norm(self.stem(x)))))
        x = self.wide(F.relu(self.transposed(x)))
        return (self.shuffle(x) + F.pixel_shuffle(self.nearest(x), 2)[:, :, ::2, ::2]).mean((2, 3))


class Mixed(nn.Module):
    """(N, 4, 6, 5) -> (N, 4): what mobile networks and detectors use between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 8, 3, bias=True)
        self.mirror = nn.ReflectionPad2d((1, 2, 2, 1))
        self.edge = nn.ReplicationPad2d((2, 0, 1, 1))
        self.zero = nn.ZeroPad2d((0, 1, 1, 0))
        self.swish = nn.Hardswish()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.leaky = nn.LeakyReLU(0.2)
        self.elu = nn.ELU(0.7)
        self.bounded = nn.Hardtanh(-0.5, 0.8)
        self.plus = nn.Softplus()
        self.causal = nn.ConstantPad1d((3, 0), 0.25)
        self.over = nn.Conv1d(8, 6, 4)
        self.out = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.swish(self.stem(self.mirror(x)))
        x = self.zero(self.edge(x * self.gate(x)))
        left, right = x.chunk(2, dim=1)
        first, second, third = torch.split(F.leaky_relu(right, 0.1), [1, 2, 1], 1)
        x = torch.cat([self.leaky(left), third, second, first], dim=1)
        x = self.elu(x).clamp(min=-0.4) + F.hardtanh(F.elu(x)) + self.bounded(x) + self.plus(x).sqrt()
        x = F.normalize(x, dim=1) + F.hardswish(x) * F.hardsigmoid(x) + torch.log(x.abs() + 1)
        rows = F.pad(x, (1, 1), value=0.5).unbind(2)
        y = self.over(self.causal(rows[0] + rows[-1]))
        return self.out(y.amax(2) + y.sum(dim=2) * 0.1)


class Encoder(nn.Module):
    """One layer of a transformer, by PyTorch's attention."""

    def __init__(self, size: int, batch_first: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(size, 4, batch_first=batch_first, bias=batch_first)
        self.norm1 = nn.LayerNorm(size)
        self.norm2 = nn.LayerNorm(size, eps=1e-3, elementwise_affine=False)
        self.up = nn.Linear(size, 2 * size)
        self.gelu = nn.GELU(approximate="tanh")
        self.down = nn.Linear(2 * size, size)
        self.batch_first = batch_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x if self.batch_first else x.transpose(0, 1)
        y, _ = self.attention(y, y, value=y, need_weights=False)
        x = self.norm1(x + (y if self.batch_first else y.transpose(0, 1)))
        return self.norm2(x + self.down(self.gelu(self.up(x))))


class Sequences(nn.Module):
    """(N, 6) of integers written as floats -> (N, 4): embeddings, attention, layer norms."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.position = nn.Parameter(torch.randn(1, 6, 16))
        self.layers = nn.Sequential(Encoder(16, True), Encoder(16, False))
        self.qkv = nn.Linear(16, 48)
        self.gate = nn.Sequential(nn.LayerNorm([6, 16]), nn.Sigmoid(), nn.ReLU6())
        self.norm = nn.Softmax(dim=1)
        self.out = nn.Linear(16, 4)
        self.last = nn.LogSoftmax(dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ids = x.long()
        x = self.layers(self.embed(ids) + F.embedding(ids, self.embed.weight) + self.position)
        batch, length, size = x.shape
        q, k, v = (self.qkv(x)[..., 16 * part : 16 * part + 16] for part in range(3))
        heads = [one.view(batch, length, 4, size // 4).transpose(1, 2) for one in (q, k, v)]
        y = F.scaled_dot_product_attention(*heads).transpose(1, 2).reshape(batch, length, size)
        weights = F.softmax(torch.matmul(q, k.transpose(-2, -1)) / size**0.5, dim=-1)
        y = y + 0.5 * (weights @ v) - self.gate(x)
        pooled = self.norm(y.mean(dim=1) - y[:, 0] + F.silu(y[:, 2:4].mean(1)))
        return self.last(self.out(pooled))


class Accumulates(nn.Module):
    """Calls functions under names that torch.fx and the activations number each in its way."""

    def __init__(self) -> None:
        super().__init__()
        self.add = nn.Linear(4, 4)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.add(x))
        y += x
        return self.relu((y + 1) * 2) + y


class Unsupported(nn.Module):
    """Holds a layer ZML has no counterpart of here."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 4), nn.PReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Branching(nn.Module):
    """Decides by the values, which no trace can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) if x.sum() > 0 else self.fc(-x)


class Erfinv(nn.Module):
    """Calls a function ZML has no counterpart of here."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.erfinv(torch.tanh(self.fc(x)))


class TwoOutputs(nn.Module):
    """Gives two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.fc(x), x


class NamedOutputs(TwoOutputs):
    """Gives two tensors by names."""

    def forward(self, x: torch.Tensor) -> Any:
        return {"scores": self.fc(x), "box": x}


SHAPES = {
    "Images": (3, 12, 10),
    "Sequences": (6,),
    "Signals": (2, 20),
    "Pixels": (3, 6, 5),
    "Mixed": (4, 6, 5),
    "Unsupported": (6,),
    "Branching": (6,),
    "Erfinv": (6,),
    "TwoOutputs": (6,),
    "NamedOutputs": (6,),
    MnistMlp.__name__: (1, 28, 28),
    LeNet.__name__: (1, 28, 28),
}


def prepare(root: Path, name: str) -> Inputs:
    """`data` and `train` outputs for the model, with weights and statistics that are not the initial ones."""
    shape = SHAPES[name]
    random = np.random.default_rng(0)
    for folder in ("data", "train"):
        (root / folder).mkdir(parents=True)
    whole = name == "Sequences"
    contract_of(name, shape, "float32", 1.0, (0.0,), (1.0,), CLASSES).write(root / "data")
    for split in ("calibration", "test"):
        x = random.integers(0, 20, (24, *shape)) if whole else random.normal(size=(24, *shape))
        np.savez(root / "data" / f"{split}.npz", x=x.astype(np.float32), y=random.integers(0, 4, 24))
    torch.manual_seed(0)
    model = globals()[name]()
    for tensor_name, tensor in model.state_dict().items():
        if "running_mean" in tensor_name:
            tensor.normal_()
        if "running_var" in tensor_name or ("norm" in tensor_name and tensor_name.endswith("weight")):
            tensor.uniform_(0.5, 2)
    write_weights(model, root / "train" / "model.safetensors")
    return Inputs({"data": root / "data", "train": root / "train"}, scratch=root)


def emit_model(root: Path, name: str, folder: str = "emit", **params: Any) -> dict[str, Any]:
    """Emit into `<root>/<folder>`, making the inputs first if they are not there."""
    from recast.stages.targets.zml.emit import STAGE

    inputs = Inputs({key: root / key for key in STAGE.inputs})
    if not (root / "data").exists():
        inputs = prepare(root, name)
    (root / folder).mkdir()
    return STAGE.run(STAGE.params(model=ModelReference(name=f"{HERE}:{name}"), **params), inputs, root / folder)


def export_model(root: Path, name: str) -> None:
    """`export`, and `simplify` with the same ONNX model: the simplifiers are in another environment."""
    from recast.stages.trunk.export import STAGE

    for folder in ("export", "simplify"):
        (root / folder).mkdir()
    inputs = Inputs({key: root / key for key in STAGE.inputs}, scratch=root)
    model = ModelReference(name=f"{HERE}:{name}")
    STAGE.run(STAGE.params(model=model, opset=17, dynamic_batch=True, samples=4), inputs, root / "export")
    shutil.copy(root / "export" / "model.onnx", root / "simplify")


def main(root: Path) -> None:
    """Images unfolded and folded, the others of operations, each with its ONNX model; and the recipes' models."""
    for name in ("Images", "Sequences", "Signals", "Pixels", "Mixed"):
        emit_model(root / name, name)
        if name == "Images":
            emit_model(root / name, name, "unfolded", fold_batchnorm=False)
        export_model(root / name, name)
    for model in (MnistMlp, LeNet):
        emit_model(root / model.__name__, model.__name__)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
