"""Exports the benchmark's models: `python exported.py OUT [DATA_ROOT ...]`, in the torch environment.

Writes, per model, NAME.onnx, NAME.input.bin, NAME.output.bin (float32, PyTorch's own output for that input) and
NAME.calibration.npz, and as the last line of its output which weights ResNet-20 has.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np
import onnx
import torch
from PIL import Image
from torch import nn

from models.lenet import LeNet
from models.mnist_cnn import MnistCnn
from models.resnet20 import ResNet20

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def inverted_residual(channels: int, stride: int, outputs: int, expansion: int) -> nn.Module:
    """MobileNetV2's block without its shortcut: expand, depthwise, project."""
    wide = channels * expansion
    return nn.Sequential(
        nn.Conv2d(channels, wide, 1, bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU6(),
        nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU6(),
        nn.Conv2d(wide, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )


class MobileNetBlocks(nn.Module):
    """float32 (N, 3, 96, 96) -> logits (N, 10): a stem, two inverted residuals, one with its shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.narrow = inverted_residual(16, 2, 24, 6)
        self.same = inverted_residual(24, 1, 24, 6)
        self.fc = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.narrow(self.stem(x))
        x = x + self.same(x)
        logits: torch.Tensor = self.fc(x.mean((2, 3)))
        return logits


def main(out: Path, data_roots: list[Path]) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    stream = np.random.default_rng(0)
    data = next((root / "cifar10-resnet20" for root in data_roots if (root / "cifar10-resnet20").is_dir()), None)
    models: list[tuple[str, nn.Module, np.ndarray]] = []
    resnet = ResNet20()
    if data:
        resnet.load_state_dict(torch.load(data / "cifar10-resnet20.pth", weights_only=True))
        images = np.stack([np.asarray(Image.open(path)) for path in sorted((data / "images").glob("*.png"))])
        samples = ((images / 255 - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)
        horse = onnx.TensorProto()
        horse.ParseFromString(base64.b64decode((data / "horse5.input.base64.txt").read_text()))
        samples = np.concatenate([onnx.numpy_helper.to_array(horse), samples])
    else:
        samples = stream.normal(size=(64, 3, 32, 32)).astype(np.float32)
    models.append(("resnet20", resnet, samples))
    models.append(("mnist_cnn", MnistCnn(), stream.normal(size=(64, 1, 28, 28)).astype(np.float32)))
    models.append(("mobilenet", MobileNetBlocks(), stream.normal(size=(64, 3, 96, 96)).astype(np.float32)))
    models.append(("lenet", LeNet(), stream.normal(size=(64, 1, 28, 28)).astype(np.float32)))
    for name, model, samples in models:
        model.eval()
        example = torch.from_numpy(samples[:1].copy())
        program = torch.onnx.export(model, (example,), dynamo=True, opset_version=18, verbose=False)
        assert program is not None
        program.save(str(out / f"{name}.onnx"), external_data=False)
        samples[:1].tofile(out / f"{name}.input.bin")
        with torch.no_grad():
            model(example).numpy().tofile(out / f"{name}.output.bin")
        np.savez(out / f"{name}.calibration.npz", x=samples, y=np.zeros(len(samples), np.int64))
    print("pretrained" if data else "random")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(root) for root in sys.argv[2:]])
