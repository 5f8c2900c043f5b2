"""Stand-ins for MNIST, CIFAR-10's hundred images and ResNet-20's weights: small, in the files that the real ones have.

`python -m tests.lib.stand_ins FOLDER`, in the environment `torch`, lays them below a data root, and prints as JSON the
hash of each real one that the code or a recipe states -> that of what stands in for it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from models.resnet20 import ResNet20
from recast.stages.trunk.data import KNOWN_SHA256
from recast.stages.trunk.sources import cifar10_images, identity
from recast.stages.trunk.sources.torchvision_files import CONTENT_MD5

WEIGHTS = "cifar10-resnet20/cifar10-resnet20.pth"
WEIGHTS_SHA256 = "30abc31d0b106cbd46acd0505f435fc179627ca727a36bbbdbe8f71ad195da7b"
"""as recipes/cifar_wasm.yaml states it"""


def mnist(root: Path) -> dict[str, str]:
    """MNIST/raw/*.gz: scikit-learn's digits enlarged to 28x28, a fifth of them for the test."""
    digits = load_digits()
    enlarged = np.kron(digits.images, np.ones((3, 3))) * 255 / 16
    pixels = np.pad(enlarged.astype(np.uint8), ((0, 0), (2, 2), (2, 2)))
    tested = np.arange(len(pixels)) % 5 == 0
    folder = root / "MNIST/raw"
    folder.mkdir(parents=True)
    hashes = {}
    for name, md5 in CONTENT_MD5["mnist"].items():
        array = pixels if "images" in name else digits.target.astype(np.uint8)
        content = idx(array[tested if name.startswith("t10k") else ~tested])
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        hashes[md5] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return hashes


def idx(array: NDArray[np.uint8]) -> bytes:
    """The bytes of an idx file of unsigned bytes."""
    head = bytes([0, 0, 8, array.ndim])
    return head + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


def cifar(root: Path) -> dict[str, str]:
    """cifar10-resnet20/: a hundred PNG files, for each class a colour and stripes, and weights that tell them apart."""
    random = np.random.default_rng(0)
    folder = root / cifar10_images.FOLDER
    folder.mkdir(parents=True)
    rows = np.arange(32)[:, None, None]
    for label, name in enumerate(cifar10_images.CLASSES):
        colour = np.array([label % 2, label // 2 % 2, label // 4 % 2]) * 110 + 60
        for number in range(1, cifar10_images.PER_CLASS + 1):
            stripes = 40 * np.sin(rows * (1 + label) / 5 + random.uniform(0, 6))
            pixels = colour + stripes + random.normal(0, 8, (32, 32, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{name}{number}.png")
    source = cifar10_images.read([root])
    torch.save(fitted(source.x, source.y).state_dict(), root / WEIGHTS)
    return {
        KNOWN_SHA256["cifar10_images"]: identity.of(source),
        WEIGHTS_SHA256: hashlib.sha256((root / WEIGHTS).read_bytes()).hexdigest(),
    }


def fitted(x: NDArray[np.uint8], y: NDArray[np.int64]) -> ResNet20:
    """A network of random weights that has seen the images, with a last layer that least squares give."""
    torch.manual_seed(0)
    mean, deviation = (torch.tensor(of).reshape(3, 1, 1) for of in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
    images = (torch.from_numpy(x) / 255 - mean) / deviation
    network = ResNet20()
    head, network.fc = network.fc, torch.nn.Identity()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0  # what it has seen last, and that is all the images
    with torch.no_grad():
        network(images)
        features = torch.cat([network.eval()(images), torch.ones(len(x), 1)], 1)
        wanted = 10 * torch.nn.functional.one_hot(torch.from_numpy(y), 10).float() - 5
        square = features.T @ features + 0.1 * torch.eye(features.shape[1])
        solved = torch.linalg.solve(square, features.T @ wanted)
        head.weight.copy_(solved[:-1].T)
        head.bias.copy_(solved[-1])
    network.fc = head
    return network


if __name__ == "__main__":
    place = Path(sys.argv[1])
    print(json.dumps(mnist(place) | cifar(place)))
