"""How much faster the train stage's loop is than a plain DataLoader loop, side by side in one run.

    python benchmarks/train_loop.py [--samples 6400] [--repeats 6] [--threads 2] [--json]

Run it in the `torch` environment. Both loops train the same model, from the same initial weights, on
the same random 28x28 uint8 images held in memory, with Adam and batches of 128, for one epoch. The
other loops use a shuffling DataLoader: "tutorial" over a Dataset as torchvision's are (a PIL image,
ToTensor, Normalize, one sample at a time), "DataLoader" over one that normalises tensors, which is as
little as a DataLoader can do per sample, and "2 workers" the same in two processes. Loops take turns in
changing order, and the fastest of the repeats is shown: the one least disturbed by whatever else the
machine does. With --json the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from models.digits_cnn import DigitsCnn
from models.mnist_cnn import MnistCnn
from recast.stages.base import ModelReference
from recast.stages.common.dataset import Contract
from recast.stages.common.torch_models.torchvision_import import import_torchvision
from recast.stages.trunk.train import TrainParams, _train

BATCH_SIZE = 128
MODELS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
    "DigitsCnn": DigitsCnn,
    "MnistCnn": MnistCnn,
}


class Samples(Dataset[Any]):
    """One normalised sample at a time."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return (self.x[index].float() / 255 - 0.5) / 0.5, int(self.y[index])


class Images(Samples):
    """One sample at a time as torchvision's datasets give it: a PIL image through transforms."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        super().__init__(x, y)
        transforms = import_torchvision("transforms")
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.x[index, 0].numpy())), int(self.y[index])


def plain(model: nn.Module, samples: Samples, workers: int) -> None:
    """One epoch as most training scripts write it."""
    loader = DataLoader(samples, BATCH_SIZE, shuffle=True, num_workers=workers)
    optimizer, loss_of, total = torch.optim.Adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss(), 0.0
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(images)


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes; what it prints is dropped."""
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=6400, help="images in the epoch")
    parser.add_argument("--repeats", type=int, default=6, help="epochs of each loop, of which the fastest is shown")
    parser.add_argument("--threads", type=int, default=2, help="threads PyTorch may use")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    stream = np.random.default_rng(0)
    stored = stream.integers(0, 256, (options.samples, 1, 28, 28)).astype(np.uint8)
    labels = stream.integers(0, 10, options.samples)
    x, y = torch.from_numpy(stored), torch.from_numpy(labels)
    classes = tuple(str(digit) for digit in range(10))
    contract = Contract("random", (1, 28, 28), "uint8", 255.0, (0.5,), (0.5,), classes)
    params = TrainParams(model=ModelReference(name="models.digits_cnn:DigitsCnn"), epochs=1, batch_size=BATCH_SIZE)
    images = Images(x, y)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "train.npz", x=stored, y=labels)
        loops: dict[str, Callable[[nn.Module], object]] = {
            "stage": lambda model: _train(params, model, contract, Path(folder), torch.device("cpu")),
            "dataloader_0_workers": lambda model: plain(model, Samples(x, y), 0),
            "dataloader_2_workers": lambda model: plain(model, Samples(x, y), 2),
            "tutorial": lambda model: plain(model, images, 0),
        }
        shown = {"tutorial": "tutorial", "dataloader_0_workers": "DataLoader", "dataloader_2_workers": "2 workers"}
        print(f"seconds    {'stage':>9}" + "".join(f" {title:>12} {'ratio':>7}" for title in shown.values()))
        for name, build in MODELS.items():
            times: dict[str, list[float]] = {loop: [] for loop in loops}
            for turn in range(options.repeats + 1):
                # each loop comes first in turn: what forks workers slows whatever runs after it
                first = turn % len(loops)
                for loop, train in [*loops.items()][first:] + [*loops.items()][:first]:
                    torch.manual_seed(0)
                    model = build()
                    taken = seconds(lambda train=train, model=model: train(model))  # type: ignore[misc]
                    if turn:  # the first turn warms up
                        times[loop].append(taken)
            fastest = {loop: min(taken) for loop, taken in times.items()}
            ratios = {loop: fastest[loop] / fastest["stage"] for loop in loops if loop != "stage"}
            results.append({"model": name, "seconds": fastest, "ratios": ratios})
            print(
                f"{name:<10} {fastest['stage']:>9.3f}"
                + "".join(f" {fastest[loop]:>12.3f} {ratios[loop]:>6.2f}x" for loop in shown)
            )
    if options.json:
        summary = {"samples": options.samples, "repeats": options.repeats, "threads": options.threads}
        print(json.dumps(summary | {"torch": torch.__version__, "results": results}))


if __name__ == "__main__":
    main()
