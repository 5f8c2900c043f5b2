"""Mistakes in recipes for data, training and code of one's own: each is found without running, at its place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecipeError
from recast.pipeline.planning.make_plan import make_plan
from tests.lib.repository import ROOT

OWN = """\
from torch import nn

from models.tiny_mlp import TinyMlp


class Net(nn.Module):
    def __init__(self, width: int = 3, *, deep: bool = False):
        super().__init__()

    def forward(self, x):
        return x


class NeedsWidth(nn.Module):
    def __init__(self, width):
        super().__init__()


def loss(outputs, y):
    return outputs.mean()


def sharp_loss(outputs, y, sharpness):
    return outputs.mean()


def loss_of_one(outputs):
    return outputs.mean()


def fit(model, training):
    pass


def fit_alone(model):
    pass


def read(path, roots=()):
    pass


def read_two(a, b):
    pass


value = 3
"""
SOUND = """\
model: models.own:Net
task: classification
stages:
  data: {dataset: digits}
  train: {epochs: 3}
  export: {opset: 18}
  simplify: {}
targets:
  onnxruntime: {}
"""
MODEL, TASK, DATA, TRAIN, EXPORT, SIMPLIFY, TARGET = (
    SOUND.splitlines()[0:2] + SOUND.splitlines()[3:7] + ["  onnxruntime: {}"]
)
TABLE = "  data: {dataset: table, path: rows.csv, "
MISTAKES = [
    # the model
    (MODEL, 'model: {name: "models.own:Net", args: {depth: 3}}', "the model 'Net' takes no argument 'depth'"),
    (MODEL, "model: models.own:NeedsWidth", "the model 'NeedsWidth' needs the argument 'width'; write 'model: {name:"),
    (MODEL, "model: models.own:value", "'value' of models/own.py is neither a class nor a function"),
    (MODEL, "model: models.own.Net", "'model' must be 'module:Class', not text 'models.own.Net'; write 'models.own:Ne"),
    (MODEL, "model: models.own:Net()", "'model' must be 'module:Class', not text 'models.own:Net()'"),
    (MODEL, 'model: {name: "models.own:Net", args: {deep: 1}}', "the argument 'deep' of the model 'Net' must be true"),
    # the task
    (TASK, "task: regresion", "'task.name' cannot be 'regresion'; did you mean 'regression'?"),
    (TASK, "task: {name: reconstruction, anomalies: 9}", "'task': the option 'anomalies' of reconstruction must be a"),
    (TASK, "task: {name: reconstruction, ignore: 3}", "'task': reconstruction has no option 'ignore'; known: anomalie"),
    (TASK, "task: {name: classification, metric: accuracy}", "'task.metric' must be 'module:function'"),
    (TASK, 'task: {name: binary, metric: "models.own:nothing"}', "models/own.py defines no 'nothing'"),
    (TASK, 'task: {name: binary, metric: "models.own:loss_of_one"}', "'loss_of_one' of models/own.py takes outputs, a"),
    # data
    (DATA, "  data: {dataset: mnist, grayscale: true, mean: [1, 2, 3]}", "'mean' has 3 values, but mnist in grey has"),
    (DATA, "  data: {dataset: npz, path: data/none.npz}", "no such file or folder in the repository: 'data/none.npz'"),
    (DATA, "  data: {dataset: npz}", "stage 'data': dataset npz needs a `path` in the repository"),
    (DATA, f"{TABLE}columns: {{y: y}}}}", "stage 'data' needs 'columns.x'"),
    (DATA, f"{TABLE}columns: {{x: a}}, window: 16}}", "'window' must be a mapping with length, step, not 16"),
    (DATA, f"{TABLE}columns: {{x: a}}, masks: models}}", "stage 'data': `masks` is for image_folder: drop it"),
    (DATA, "  data: {dataset: image_folder, path: models, masks: mask}", "no such file or folder in the repository:"),
    (
        DATA,
        "  data: {dataset: wav_folder, path: models, audio: {rate: 8000, seconds: 1, features: logmel}}",
        "'audio.features' cannot be 'logmel'; did you mean 'log_mel'?",
    ),
    (
        DATA,
        "  data: {dataset: wav_folder, path: models, audio: {rate: 16k, seconds: 1}}",
        "'audio.rate' must be a whole number above 0, not text '16k'",
    ),
    (
        DATA,
        "  data: {dataset: wav_folder, path: models, audio: {rate: 8000, seconds: 1, frame: 9000}}",
        "'audio': frame 9000 is longer than 1 seconds, 8000 samples",
    ),
    (DATA, "  data: {dataset: python, function: models.own}", "stage 'data': function must be 'module:function'"),
    (DATA, '  data: {dataset: python, function: "models.own:reed"}', "models/own.py defines no 'reed'; did you mean"),
    (DATA, '  data: {dataset: python, function: "models.own:read_two"}', "'read_two' of models/own.py takes a and b,"),
    (DATA, '  data: {dataset: python, function: "models.own:read"}', "'read' of models/own.py takes path, and is call"),
    (DATA, '  data: {dataset: python, function: "models.own:TinyMlp"}', "models/own.py only imports 'TinyMlp'; name t"),
    (DATA, '  data: {dataset: python, function: "numpy:load"}', "'numpy' is no module of this repository"),
    (DATA, "  data: {dataset: digits, validation_fraction: 10%}", "'validation_fraction' must be a number of 0 or mor"),
    (DATA, "  data: {dataset: digits, calibration: balancd}", "'calibration' cannot be 'balancd'; did you mean 'balan"),
    # training
    (TRAIN, "  train: {epochs: 3, optimizer: AdamWW}", "'optimizer' cannot be 'AdamWW'; did you mean 'AdamW'?"),
    (TRAIN, "  train: {optimizer: sgd, optimizer_args: {betas: [0, 0]}}", "'optimizer_args' cannot hold 'betas', whic"),
    (TRAIN, "  train: {scheduler: steplr, scheduler_args: {step: 3}}", "'scheduler_args' cannot hold 'step', which St"),
    (TRAIN, "  train: {loss: mse}", "stage 'train': loss MSELoss is none of the task classification, which takes"),
    (TRAIN, '  train: {loss: "models.own:looss"}', "models/own.py defines no 'looss'; did you mean 'loss'?"),
    (TRAIN, '  train: {loss: "models.own:value"}', "'value' of models/own.py is no function; name one that the module"),
    (TRAIN, '  train: {loss: "models.own:loss_of_one"}', "'loss_of_one' of models/own.py takes outputs, and is called"),
    (TRAIN, '  train: {loss: "models.own:sharp_loss"}', "'sharp_loss' of models/own.py takes outputs and y and sharpn"),
    (TRAIN, '  train: {function: "models.own:fit_alone"}', "'fit_alone' of models/own.py takes model, and is called w"),
    (TRAIN, "  train: {function: fit}", "'function' must be 'module:function', for example 'models.training:fit'"),
    (TRAIN, "  train: {class_weights: balance}", "'class_weights' must be \"balanced\", or a list of numbers, not tex"),
    (TRAIN, "  train: {precision: float16, device: cpu}", "stage 'train': precision float16 is for cuda, not cpu: use"),
    (TRAIN, "  train: {clip_norm: 0}", "'clip_norm' must be a number above 0, not 0"),
    (TRAIN, "  train: {epochs: 3, warmup_epochs: 5}", "stage 'train': warmup_epochs 5 leaves none of 3 epochs: raise"),
    (TRAIN, "  train: {schedule: [{scheduler: LinearLR}, {scheduler: LinearLR}]}", "stage 'train': schedule: only the"),
    (TRAIN, "  train: {augment: [RandomHorizontalFlip]}", "'augment[0]' must be a mapping of names to mappings"),
    (TRAIN, "  train: {augment: [{RandomRotation: {degree: 10}}]}", "'augment': gives RandomRotation 'degree', which"),
    (TRAIN, "  train: {pretrained: resnet.pth}", "stage 'train': a data root is only a place: give the sha256"),
    # what follows
    (EXPORT, "  export: {opset: 13, exporter: dynamo}", "stage 'export': the dynamo exporter writes opset 18 or later"),
    (EXPORT, "  export: {input_names: [x, x]}", "stage 'export': input_names and output_names hold 'x' twice"),
    (SIMPLIFY, "  simplify: {tool: onnxsimplifier}", "'tool' cannot be 'onnxsimplifier'; did you mean 'onnxsim'?"),
    (
        TARGET,
        "  onnxruntime: {verify: {min_acc: 0.9}}",
        "stage 'onnxruntime/verify' has no param 'min_acc'; did you mean 'min_accuracy'?",
    ),
    (TARGET, "  onnxruntime: {verify: {min_auc: 0.9}}", "stage 'onnxruntime/verify': min_auc is no limit of the task"),
    (TARGET, "  onnxruntime: {verify: {limits: {min_foo: 1}}}", "stage 'onnxruntime/verify': limits: min_foo is no li"),
    (TARGET, "  akida: {emit: {device: Two}}", "'device' cannot be 'Two'; did you mean 'TwoNodesIPv2'?"),
    (TARGET, "  onnxrt: {}", "no target named 'onnxrt' in recipes/targets/; did you mean 'onnxruntime'?"),
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's models and targets, with a module and a table of one's own."""
    root = tmp_path_factory.mktemp("mistakes")
    for name in ("models", "recipes/targets", "stages"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "src/recast").mkdir(parents=True)  # by which a repository is Recast's own
    (root / "envs").mkdir()
    for name in ("envs/torch.in", "params.yaml"):
        shutil.copy(ROOT / name, root / name)
    (root / "models/own.py").write_text(OWN)
    (root / "rows.csv").write_text("a,y\n1,2\n")
    return root


def test_what_is_edited_is_sound(place: Path) -> None:
    (place / "recipes/t.yaml").write_text(SOUND)
    make_plan(place, ["t"])
    given = {"loss": '"models.own:sharp_loss", loss_args: {sharpness: 2}', "function": '"models.own:fit"'}
    for param, value in given.items():
        (place / "recipes/t.yaml").write_text(SOUND.replace(TRAIN, f"  train: {{{param}: {value}}}"))
        make_plan(place, ["t"])
    with_path = '  data: {dataset: python, path: rows.csv, function: "models.own:read"}'
    (place / "recipes/t.yaml").write_text(SOUND.replace(DATA, with_path))
    make_plan(place, ["t"])


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES, ids=[new.strip()[:60] for _, new, _ in MISTAKES])
def test_a_mistake_is_found_without_running(old: str, new: str, message: str, place: Path) -> None:
    assert SOUND.count(old) == 1
    (place / "recipes/t.yaml").write_text(SOUND.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        make_plan(place, ["t"])
    (problem,) = caught.value.problems
    assert f"{problem.message}; {problem.remedy}".startswith(message)
    assert (problem.file, problem.line) == ("recipes/t.yaml", SOUND[: SOUND.index(old)].count("\n") + 1)


def test_a_task_of_pixels_needs_labels_of_pixels(place: Path) -> None:
    (place / "recipes/t.yaml").write_text(SOUND.replace(TASK, "task: segmentation"))
    with pytest.raises(RecipeError) as caught:
        make_plan(place, ["t"])
    (problem,) = caught.value.problems
    assert "dataset digits has a label for each image, and the task segmentation needs one for each pixel" in str(
        problem
    )
