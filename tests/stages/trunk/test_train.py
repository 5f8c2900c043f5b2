# environment: torch
from __future__ import annotations

import csv
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file

from recast.stages.base import Inputs, Metrics, StageError
from recast.stages.trunk.train import STAGE, TrainParams, batches_of, normalised
from tests.lib import own_models
from tests.lib.contracts import contract as contract_of

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, outputs=3, features=4, dropout=0.0):
        super().__init__()
        self.fc1 = nn.Linear(features, 16)
        self.norm = nn.BatchNorm1d(16)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(16, outputs)
    def forward(self, x):
        return self.fc2(self.dropout(torch.relu(self.norm(self.fc1(x)))))

class Pair(Net):
    def forward(self, x):
        return super().forward(x), "scores"

class Named(Net):
    def forward(self, x):
        return "scores"

class Flat(Net):
    def forward(self, x):
        return super().forward(x).sum(1)

class Chosen(Net):
    def forward(self, x):
        return super().forward(x).argmax(1)

class Unsure(Net):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x))

class Tokens(Net):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(256, 4)
    def forward(self, x):
        return super().forward(self.embed(x).mean(1))

class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.LazyLinear(3)
    def forward(self, x):
        return self.fc(x)

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.b.weight = self.a.weight
    def forward(self, x):
        return self.out(self.b(torch.relu(self.a(x))))

class Shy(Net):
    def forward(self, x):
        if self.training:
            raise RuntimeError("not now")
        return super().forward(x)

class Unstable(Net):
    def forward(self, x):
        return super().forward(x) * (float("nan") if self.training else 1)

class Pixels(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
    def forward(self, x):
        return self.conv(x)
"""


def write_data(directory: Path, validation: bool = True) -> Path:
    """Three classes around three well separated points in four dimensions, as uint8."""
    directory.mkdir()
    stream = np.random.default_rng(0)
    centres = np.array([[40, 40, 200, 200], [200, 40, 40, 200], [200, 200, 40, 40]])
    splits = {"train": 129, "validation": 30, "test": 60, "calibration": 16}
    for name, count in splits.items():
        labels = np.arange(count) % 3
        x = (centres[labels] + stream.normal(0, 15, (count, 4))).clip(0, 255).astype(np.uint8)
        if name != "validation" or validation:
            np.savez(directory / f"{name}.npz", x=x, y=labels)
    contract_of("own", (4,), "uint8", 255.0, (0.5,), (0.25,), ("a", "b", "c")).write(directory)
    return directory


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return own_models.lay(tmp_path, NETS, monkeypatch)


def run(
    data: Path, model: str, weights: Path | None = None, args: dict[str, Any] | None = None, **params: Any
) -> tuple[Metrics, Path]:
    tmp_path = data.parent
    out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
    out.mkdir()
    if weights:
        params["weights"] = weights.name
    checked = TrainParams(model={"name": model, "args": args or {}}, **({"epochs": 4, "batch_size": 32} | params))
    files = {"weights": weights} if weights else {}
    return STAGE.run(checked, Inputs({"data": data}, files, scratch=tmp_path), out), out


def refused(data: Path, model: str, weights: Path | None = None, **params: Any) -> str:
    with pytest.raises(StageError) as caught:
        run(data, model, weights, **params)
    assert caught.value.remedy
    return f"{caught.value.message} | {caught.value.remedy}"


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "loss.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


# training


def test_a_model_learns(data: Path, nets: str, capsys: pytest.CaptureFixture[str]) -> None:
    metrics, out = run(data, f"{nets}:Net", lr=0.02)
    assert metrics == {"accuracy": 1.0, "test_samples": 60, "epochs": 4, "parameters": 163, "device": "cpu"}
    table = rows(out)
    assert list(table[0]) == ["epoch", "train_loss", "validation_loss", "validation_accuracy"]
    assert [row["epoch"] for row in table] == ["1", "2", "3", "4"]
    assert float(table[-1]["train_loss"]) < float(table[0]["train_loss"])
    assert float(table[-1]["validation_accuracy"]) == 1
    assert set(load_file(out / "model.safetensors")) >= {"fc1.weight", "norm.running_mean", "fc2.bias"}
    said = capsys.readouterr().out
    assert '"progress": "epoch 4/4  loss ' in said and '"timing": "training"' in said


def test_the_same_params_give_the_same_bytes_and_a_seed_others(data: Path, nets: str) -> None:
    (first, one), (second, two) = (run(data, f"{nets}:Net", args={"dropout": 0.3}) for _ in range(2))
    assert first == second
    assert sorted(file.name for file in one.iterdir()) == ["loss.csv", "model.safetensors"]
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()
    _, other = run(data, f"{nets}:Net", args={"dropout": 0.3}, seed=1)
    assert (one / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()


def test_optimizer_loss_and_scheduler_are_used(data: Path, nets: str) -> None:
    losses = set()
    for params in (
        {},
        {"optimizer": "SGD", "optimizer_args": {"momentum": 0.9, "nesterov": True}},
        {"loss": "CrossEntropyLoss", "loss_args": {"label_smoothing": 0.1}},
        {"scheduler": "CosineAnnealingLR"},
        {"scheduler": "OneCycleLR"},
        {"scheduler": "StepLR", "scheduler_args": {"step_size": 1}},
        {"weight_decay": 0.5},
        {"loss": "multi_margin"},
    ):
        losses.add(rows(run(data, f"{nets}:Net", lr=0.02, **params)[1])[-1]["train_loss"])
    assert len(losses) == 8
    run(data, f"{nets}:Net", scheduler="ReduceLROnPlateau", scheduler_args={"patience": 0})


def test_without_a_validation_split_its_columns_are_empty(tmp_path: Path, nets: str) -> None:
    _, out = run(write_data(tmp_path / "data", validation=False), f"{nets}:Net", epochs=2)
    assert [(row["validation_loss"], row["validation_accuracy"]) for row in rows(out)] == [("", "")] * 2


def test_early_stopping_goes_back_to_the_best_epoch(data: Path, nets: str) -> None:
    # a learning rate this high makes the loss rise after a while
    params = {"lr": 1.0, "optimizer": "sgd", "batch_size": 8}
    metrics, stopped = run(data, f"{nets}:Net", epochs=40, early_stopping={"patience": 2}, **params)
    losses = [float(row["validation_loss"]) for row in rows(stopped)]
    best = losses.index(min(losses)) + 1
    assert metrics["epochs"] == len(losses) == best + 2 < 40
    _, short = run(data, f"{nets}:Net", epochs=best, **params)
    assert (short / "model.safetensors").read_bytes() == (stopped / "model.safetensors").read_bytes()


def test_lazy_and_tied_models_train(data: Path, nets: str) -> None:
    assert run(data, f"{nets}:Lazy")[0]["parameters"] == 15
    _, out = run(data, f"{nets}:Tied")
    state = load_file(out / "model.safetensors")
    assert (state["a.weight"] == state["b.weight"]).all()


def test_a_last_batch_of_one_sample_is_left_out() -> None:
    assert batches_of(129, 32)[-1] == (96, 128)  # BatchNorm cannot train on one sample
    assert batches_of(130, 32)[-1] == (128, 130)
    assert batches_of(1, 32) == [(0, 1)]
    assert batches_of(3, 1) == [(0, 1), (1, 2), (2, 3)]


def test_samples_are_normalised_just_as_the_contract_says() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4)).astype(np.uint8)
    contract = contract_of("own", (3, 4, 4), "uint8", 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), ("a",))
    assert (normalised(torch.from_numpy(stored), contract).numpy() == contract.normalise(stored)).all()


# what is refused


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"optimizer_args": {"betas": 1}}, "optimizer adam: "),
        ({"device": "cuda"}, "device cuda is not available here: PyTorch 2."),
    ],
)
def test_unknown_names_are_refused(data: Path, nets: str, params: dict[str, Any], message: str) -> None:
    if params.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert message in refused(data, f"{nets}:Net", **params)


def test_a_model_that_does_not_fit_the_data_is_refused(data: Path, nets: str) -> None:
    message = refused(data, f"{nets}:Net", args={"features": 5})
    said = f"{nets}:Net does not take samples of shape (4,) in layer 'fc1' (Linear): RuntimeError: mat1 and mat2"
    assert said in message
    assert f"({nets}.py:" in message and "mend the model there" in message
    # points in space have no size that could be changed
    assert "data.resize" not in message and "in the file of data.path, in place of (4,)" in message
    message = refused(data, f"{nets}:Net", args={"outputs": 2})
    assert "maps 2 samples to (2, 2); the data's 3 classes need (2, 3)" in message
    assert "maps 2 samples to (2,)" in refused(data, f"{nets}:Flat")
    assert "returns a str, not scores (N, classes)" in refused(data, f"{nets}:Named")
    assert "the model returns a str among its outputs" in refused(data, f"{nets}:Pair")
    assert "returns int64 numbers, not scores (N, classes)" in refused(data, f"{nets}:Chosen")
    message = refused(data, f"{nets}:Tokens")
    assert "in layer 'embed' (Embedding)" in message and "x.long()" in message and "data." not in message
    message = refused(data, f"{nets}:Unsure")
    assert f"{nets}:Unsure gives other scores each time it is called, also in evaluation: dropout in" in message
    assert "'absent' is no module of this repository" in refused(data, "absent:Net")


def test_a_model_that_fails_only_in_training_is_told(data: Path, nets: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(data, f"{nets}:Shy")
    assert f"{nets}:Shy fails while training: RuntimeError: not now ({nets}.py:" in message
    assert f"{nets}.py" in capsys.readouterr().err  # the log has the line
    message = refused(data, f"{nets}:Net", loss_args={"weight": [1, 2]})
    assert "fails while training: RuntimeError: weight tensor should be defined" in message


def test_more_outputs_than_classes_are_trained_only_if_the_recipe_says_so(data: Path, nets: str) -> None:
    message = refused(data, f"{nets}:Net", args={"outputs": 7})
    assert "Net has 7 outputs, and the data 3 classes: 4 would never be right | give the model one output" in message
    assert "set task.spare_outputs to true" in message
    task = {"name": "classification", "spare_outputs": True}
    assert run(data, f"{nets}:Net", args={"outputs": 7}, lr=0.02, task=task)[0]["accuracy"] == 1


def test_a_loss_that_the_outputs_are_not_made_for_stops_at_the_first_batch(data: Path, nets: str) -> None:
    message = refused(data, f"{nets}:Net", loss="nll")
    assert "loss nll takes logarithms of probabilities, and the model gives others" in message
    assert "set train.loss to cross_entropy" in message


def test_a_loss_that_is_not_a_number_names_the_epoch(data: Path, nets: str) -> None:
    assert "the loss is nan in epoch 1 of 4 | lower train.lr (it is 0.001)" in refused(data, f"{nets}:Unstable")
    message = refused(data, f"{nets}:Tied", lr=1e20, optimizer="sgd")
    assert "in epoch " in message and "(it is 1e+20)" in message


def test_labels_of_pixels_are_changed_with_the_image(tmp_path: Path, nets: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    # bright on the left: only what moves with its image can be told pixel by pixel
    bright = np.arange(8) < np.random.default_rng(0).integers(2, 5, (64, 8, 1))
    for split in ("train", "validation", "test", "calibration"):
        np.savez(data / f"{split}.npz", x=(200 * bright[:, None]).astype(np.uint8), y=bright.astype(np.int64))
    task = {"name": "segmentation"}
    contract_of("own", (1, 8, 8), "uint8", 255.0, (0.5,), (0.5,), ("dark", "bright"), task).write(data)
    flipped = [{"RandomHorizontalFlip": {"p": 1.0}}]
    metrics, _ = run(data, f"{nets}:Pixels", task=task, augment=flipped, lr=0.1, epochs=12)
    assert metrics["iou"] == 1.0


def test_early_stopping_needs_a_validation_split(tmp_path: Path, nets: str) -> None:
    data = write_data(tmp_path / "data", validation=False)
    message = refused(data, f"{nets}:Net", early_stopping={"patience": 1})
    assert "early stopping needs a validation split | set data.validation_fraction" in message


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sha256": "0" * 64}, "give `weights` or `pretrained`, or drop sha256"),
        ({"pretrained": "net.pth"}, "give the sha256 of the `pretrained` weights"),
        ({"pretrained": "net.pth", "weights": "w.pt", "sha256": "0" * 64}, "weights are given twice"),
        ({"pretrained": "../net.pth", "sha256": "0" * 64}, "a path below a data root"),
        ({"url": "https://example.org/net.pth"}, "url is that of `pretrained` weights"),
        ({"pretrained": "net.pth", "sha256": "0" * 64, "url": "file:///net.pth"}, "String should match pattern"),
        ({"sha256": "abc", "weights": "w.pt"}, "String should match pattern"),
        ({"optimizer": "adm"}, "cannot be 'adm'; did you mean 'Adam'?"),
        ({"loss": "cross_entrpy"}, "cannot be 'cross_entrpy'; did you mean 'CrossEntropyLoss'?"),
        ({"loss": "MSELoss"}, "loss MSELoss is none of the task classification, which takes CrossEntropyLoss"),
        ({"loss_args": {"reduction": "sum"}}, "cannot hold a 'reduction' but 'mean'"),
        ({"scheduler": "StepLRR"}, "cannot be 'StepLRR'; did you mean 'StepLR'?"),
        ({"scheduler": "StepLR"}, "scheduler StepLR needs 'step_size'"),
        ({"optimizer_args": {"speed": 1}}, "cannot hold 'speed', which Adam does not take; known: amsgrad"),
        ({"optimizer": "sgd", "optimizer_args": {"momentun": 1}}, "which SGD does not take; did you mean 'momentum'?"),
        ({"optimizer_args": {"lr": 1}}, "give the learning rate as `lr`"),
        ({"weight_decay": 1, "optimizer_args": {"weight_decay": 1}}, "weight_decay is given twice"),
        ({"scheduler_args": {"gamma": 1}}, "scheduler_args without a scheduler"),
        ({"lr": 0}, "greater than 0"),
        ({"lr": math.inf}, "finite"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"weights": "/etc/passwd"}, "relative to the repository"),
        ({"epoch": 3}, "Extra inputs are not permitted"),
    ],
)
def test_params_that_cannot_be_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainParams(model={"name": "models.digits_cnn:DigitsCnn"}, **params)


# weights in place of training


def test_weights_are_loaded_checked_and_measured(data: Path, nets: str) -> None:
    trained, out = run(data, f"{nets}:Net", lr=0.02)
    weights = out / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    metrics, loaded = run(data, f"{nets}:Net", weights, sha256=digest.upper())
    assert metrics == trained | {"epochs": 0}
    assert (loaded / "model.safetensors").read_bytes() == weights.read_bytes()
    assert (loaded / "loss.csv").read_text() == "epoch,train_loss,validation_loss,validation_accuracy\n"
    message = refused(data, f"{nets}:Net", weights, sha256="0" * 64)
    assert f"model.safetensors has SHA-256 {digest}; the recipe expects {'0' * 64}" in message
    assert "does not fit Tied: missing a.weight" in refused(data, f"{nets}:Tied", weights)


def test_pretrained_weights_come_from_a_data_root(data: Path, nets: str) -> None:
    trained, out = run(data, f"{nets}:Net", lr=0.02)
    (out / "model.safetensors").rename(data.parent / "net.safetensors")
    digest = hashlib.sha256((data.parent / "net.safetensors").read_bytes()).hexdigest()
    params = TrainParams(model={"name": f"{nets}:Net"}, pretrained="net.safetensors", sha256=digest)
    loaded = data.parent / "loaded"
    loaded.mkdir()
    inputs = Inputs({"data": data}, data_roots=(data.parent,), scratch=data.parent)
    assert STAGE.run(params, inputs, loaded) == trained | {"epochs": 0}


def test_resnet20_takes_32x32_images() -> None:
    from models.resnet20 import ResNet20

    model = ResNet20()
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 272474


def test_digits_cnn_and_mnist_cnn_take_28x28_images(tmp_path: Path) -> None:
    from models.digits_cnn import DigitsCnn
    from models.mnist_cnn import MnistCnn

    for model, parameters in ((DigitsCnn(), 106122), (MnistCnn(), 1204618)):
        assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
        assert sum(parameter.numel() for parameter in model.parameters()) == parameters
