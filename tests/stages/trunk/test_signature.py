# environment: torch
"""A PyTorch model of two inputs and two outputs: trained with a loss of its own, exported, made int8, and verified."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from recast.stages.base import ModelReference, StageError
from recast.stages.targets.onnxruntime import calibrate, emit, quantize, verify
from recast.stages.trunk import data, export, train
from tests.lib import own_models
from tests.lib.onnx_models import Workplace

NETS = """
from typing import NamedTuple

import numpy as np
import torch
from torch import nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.side = nn.Linear(5, 4)
        self.head = nn.Linear(4 * 16 + 4, 3)
        self.box = nn.Linear(4 * 16 + 4, 2)

    def forward(self, meta, image):  # in another order than the data
        both = torch.cat([self.conv(image).relu().flatten(1), self.side(meta).relu()], 1)
        return {"box": self.box(both), "scores": self.head(both)}


class Pair(Two):
    def forward(self, first, second):  # by no names of the data's: in their order
        made = super().forward(second, first)
        return made["scores"], made["box"]


class Made(NamedTuple):
    scores: torch.Tensor
    box: torch.Tensor


class Fields(Two):
    def forward(self, image, meta, scale=1.0):
        made = super().forward(meta, image)
        return Made(made["scores"] * scale, made["box"])


class Short(Two):
    def forward(self, image):
        return super().forward(torch.zeros(len(image), 5), image)


class Gap(Two):
    def forward(self, image, mask=None, meta=None):
        return super().forward(meta, image)


class Whole(Two):
    def forward(self, meta, image):
        return {**super().forward(meta, image), "class": meta.argmax(1)}


class Mixing(Two):
    def forward(self, meta, image):
        made = super().forward(meta, image)
        return {**made, "box": made["box"] - made["box"].mean(0)}


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(self.lstm(self.embed(x))[0][:, -1])


def loss(outputs, y):
    wanted = torch.stack([y, 1 - y], 1).float()
    return nn.functional.cross_entropy(outputs["scores"], y) + nn.functional.mse_loss(outputs["box"], wanted)


def box_error(outputs, y):
    return np.abs(outputs["box"] - np.stack([y, 1 - y], 1)).mean()
"""
TASK = {"name": "classification", "output": "scores"}
INPUTS = {"image": {"layout": "nhwc", "mean": 0.5, "std": 0.25}, "meta": {}}


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return own_models.lay(tmp_path, NETS, monkeypatch)


def data_of(work: Workplace, task: Any = TASK) -> None:
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 120)
    image = random.integers(0, 180, (120, 8, 8, 3)).astype(np.uint8)
    image[np.arange(120), :, :, y] += 75
    meta = random.normal(size=(120, 5)).astype(np.float32)
    meta[:, :3] += 2 * np.eye(3)[y]
    np.savez(work.root / "own.npz", image=image, meta=meta, y=y)
    work.run(
        data.STAGE, "data", {"path": work.root / "own.npz"}, dataset="npz", path="own.npz", task=task, inputs=INPUTS
    )


def made(root: Path, model: str, task: Any = TASK, trained: Any = None, **exported: Any) -> Workplace:
    work = Workplace(root)
    data_of(work, task)
    reference = ModelReference(name=model)
    given = {"epochs": 2, "lr": 0.01, "batch_size": 32} | (trained or {})
    work.run(train.STAGE, "train", model=reference, task=task, **given)
    work.run(export.STAGE, "export", model=reference, **exported)
    return work


def refusal(*args: Any, **options: Any) -> str:
    with pytest.raises(StageError) as caught:
        made(*args, **options)
    return f"{caught.value.message} | {caught.value.remedy}"


def int8(work: Workplace, task: Any, **limits: Any) -> dict[str, Any]:
    """The target's stages, on the exported model: the simplifier is of another environment."""
    shutil.copytree(work.root / "export", work.root / "simplify")
    for stage, name in ((quantize.STAGE, "quantize"), (calibrate.STAGE, "calibrate"), (emit.STAGE, "emit")):
        work.run(stage, name)
    return work.run(verify.STAGE, "verify", task=task, **limits)


@pytest.mark.parametrize("opset", [13, 18])
def test_from_data_to_the_int8_that_is_verified(tmp_path: Path, nets: str, opset: int) -> None:
    task = TASK | {"metric": f"{nets}:box_error"}
    work = made(tmp_path, f"{nets}:Two", task, {"loss": f"{nets}:loss", "epochs": 10}, opset=opset)
    proto = onnx.load(tmp_path / "export" / "model.onnx")
    assert [value.name for value in proto.graph.input] == ["meta", "image"]
    assert [value.name for value in proto.graph.output] == ["box", "scores"]
    tensors = load_file(tmp_path / "export" / "reference.safetensors")
    assert {name: array.shape for name, array in tensors.items()} == {
        "input.image": (8, 3, 8, 8),
        "input.meta": (8, 5),
        "output.box": (8, 2),
        "output.scores": (8, 3),
    }
    metrics = int8(work, task, min_agreement=0.5, limits={"max_box_error": 1.5})
    assert metrics["metric"] == "box_error" and metrics["accuracy_emitted"] > 0.9
    found = json.loads((tmp_path / "verify" / "parity.json").read_text())
    assert set(found["outputs"]) == {"box", "scores"}
    assert [one["from"] for one in found["conversions"]][:2] == ["pytorch", "exported"]
    layers = {layer["layer"] for layer in found["conversions"][0]["layers"]}
    assert {"conv", "side", "head", "box"} <= layers
    assert not any(one["blamed"] for one in found["conversions"])


def test_inputs_by_their_order_and_outputs_by_names_of_the_recipe(tmp_path: Path, nets: str) -> None:
    """With the loss of the task, which reads the first output; the model returns a tuple."""
    names = {"input_names": ["picture", "facts"], "output_names": ["classes", "corner"]}
    work = made(tmp_path, f"{nets}:Pair", "classification", {"epochs": 10}, opset=13, dynamic_batch=False, **names)
    metrics = int8(work, "classification", min_agreement=0.2)
    assert metrics["accuracy_emitted"] > 0.9
    contract = json.loads((tmp_path / "emit" / "input.json").read_text())
    assert [(one["name"], one["tensor"]) for one in contract["inputs"]] == [("image", "picture"), ("meta", "facts")]
    assert [one["name"] for one in contract["outputs"]] == ["classes", "corner"]


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("Short", {}, "Short.forward takes 1 tensors (image), and the data have 2 inputs (image, meta)"),
        ("Gap", {}, "Gap.forward takes image, mask, meta, and the inputs of the data are image, meta"),
        ("Whole", {}, "returns int64 numbers as class, not floats"),
        ("Mixing", {}, "gives a sample other scores when other samples are beside it in the batch"),
        ("Two", {"task": {"name": "classification", "output": "points"}}, "the model's outputs are box, scores"),
        ("Two", {"task": "classification"}, "maps 2 samples to (2, 2); the data's 3 classes need (2, 3)"),
        (
            "Two",
            {"trained": {"augment": [{"RandomHorizontalFlip": {"p": 0.5}}]}},
            "train.augment changes the one input of a model",
        ),
        ("Fields", {"output_names": ["one"]}, "export.output_names holds 1, and"),
        ("Fields", {"output_names": ["meta", "box"]}, "are both called 'meta'"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, nets: str, model: str, options: Any, said: str) -> None:
    assert said in refusal(tmp_path, f"{nets}:{model}", **options)


def test_words_are_classified(tmp_path: Path, nets: str) -> None:
    """One input of whole numbers."""
    work = Workplace(tmp_path)
    x = np.random.default_rng(0).integers(0, 20, (120, 6))
    np.savez(tmp_path / "own.npz", x=x, y=(x[:, -1] > 9).astype(int))
    work.run(data.STAGE, "data", {"path": tmp_path / "own.npz"}, dataset="npz", path="own.npz")
    reference = ModelReference(name=f"{nets}:Words")
    work.run(train.STAGE, "train", model=reference, epochs=12, lr=0.03, batch_size=24)
    work.run(export.STAGE, "export", model=reference, opset=17)
    assert load_file(tmp_path / "export" / "reference.safetensors")["input"].dtype == np.int64
    assert int8(work, "classification")["accuracy_emitted"] > 0.9
