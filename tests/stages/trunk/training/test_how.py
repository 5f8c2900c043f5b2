# environment: torch
"""How a model is trained: each way changes what it should, and gives the same bytes twice."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from recast.stages.base import Inputs, ProjectCode, StageError
from recast.stages.common.torch_models.torchvision_import import import_torchvision
from recast.stages.trunk.train import STAGE, TrainParams
from recast.stages.trunk.training import augment_names
from recast.stages.trunk.training.augmentation import Augmentation
from recast.stages.trunk.training.how import How, Phase
from recast.stages.trunk.training.optimisation import make_schedule
from recast.stages.trunk.training.steps import Steps, make_sequence, weighted
from tests.lib.contracts import contract

CPU = torch.device("cpu")
CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 2))
    def forward(self, x):
        return self.layers(x)

def fit(model, training):
    optimizer = torch.optim.SGD(model.parameters(), lr=training.lr)
    for _ in range(training.epochs):
        total = count = 0
        for x, y in training.batches():
            loss = training.loss(model(x), y, x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, count = total + float(loss) * len(x), count + len(x)
        training.end_epoch(total / count)

def silent(model, training): ...

def fails(model, training):
    raise KeyError("nothing")

class Aided(Net):
    def __init__(self):
        super().__init__()
        self.aid = nn.Linear(16, 2)
    def forward(self, x):
        early = self.layers[:3](x)
        scores = self.layers[3](early)
        return (scores, self.aid(early)) if self.training else scores

def aided(outputs, y):
    cross_entropy = nn.functional.cross_entropy
    if not isinstance(outputs, tuple):
        return cross_entropy(outputs, y)
    return cross_entropy(outputs[0], y) + 0.3 * cross_entropy(outputs[1], y)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    module = f"how_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{module}.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    random = np.random.default_rng(0)
    data = tmp_path / "data"
    data.mkdir()
    contract("own", (3, 4, 4), "uint8", 255.0, (0.5,), (0.5,), ("a", "b")).write(data)
    for split, count in (("train", 60), ("validation", 20), ("test", 20)):
        y = (np.arange(count) % 5 == 0).astype(np.int64)
        x = (random.integers(0, 120, (count, 3, 4, 4)) + 100 * y[:, None, None, None]).astype(np.uint8)
        np.savez(data / f"{split}.npz", x=x, y=y)
    (tmp_path / "module").write_text(module)
    return tmp_path


def run(place: Path, model: str = "Net", **params: Any) -> tuple[dict[str, Any], bytes, list[str]]:
    out = place / f"out{len(list(place.glob('out*')))}"
    out.mkdir()
    module = (place / "module").read_text()
    params = {name: f"{module}:{value}" if name == "function" else value for name, value in params.items()}
    checked = TrainParams(model={"name": f"{module}:{model}"}, **({"epochs": 4, "batch_size": 16, "lr": 0.01} | params))
    metrics = STAGE.run(checked, Inputs({"data": place / "data"}, project=ProjectCode(place)), out)
    return metrics, (out / "model.safetensors").read_bytes(), (out / "loss.csv").read_text().splitlines()[1:]


@pytest.mark.parametrize(
    "how",
    [
        {"warmup_epochs": 2},
        {"warmup_epochs": 1, "scheduler": "OneCycleLR"},
        {"schedule": [{"scheduler": "LinearLR", "epochs": 2}, {"scheduler": "CosineAnnealingLR"}]},
        {"clip_norm": 0.01},
        {"clip_value": 0.001},
        {"class_weights": "balanced"},
        {"class_weights": [1.0, 9.0]},
        {"precision": "bfloat16"},
        {"augment": [{"RandomHorizontalFlip": {}}, {"RandomCrop": {"size": 4, "padding": 1}}]},
        {"function": "fit"},
    ],
    ids=json.dumps,
)
def test_each_way_counts_and_gives_the_same_bytes_twice(place: Path, how: dict[str, Any]) -> None:
    _, plain, _ = run(place, optimizer="sgd")
    metrics, first, rows = run(place, optimizer="sgd", **how)
    assert first == run(place, optimizer="sgd", **how)[1]
    # a function that trains as the stage does gives what that gives
    assert (first == plain) is ("function" in how)
    assert metrics["epochs"] == len(rows) == 4 and all(len(row.split(",")) == 4 and row.split(",")[3] for row in rows)


def test_outputs_that_a_model_gives_in_training_alone(place: Path) -> None:
    """The task's loss reads the first; one of the project's is given all, and the one where validation is measured."""
    module = (place / "module").read_text()
    _, of_task, rows = run(place, model="Aided")
    metrics, of_own, own_rows = run(place, model="Aided", loss=f"{module}:aided")
    assert of_task != of_own and metrics["accuracy"] > 0.8
    losses = [[float(row.split(",")[place]) for row in own_rows] for place in (1, 2)]
    # the auxiliary loss counts in training, and not where validation is measured
    assert losses[0][-1] > losses[1][-1] and len(rows) == 4


def test_a_function_of_the_projects_that_does_not_train(place: Path) -> None:
    with pytest.raises(StageError, match="silent told of no epoch"):
        run(place, function="silent")
    with pytest.raises(StageError, match=r"fails fails: KeyError: 'nothing' \(how_\d+\.py:27\)"):
        run(place, function="fails")


# learning rates


def rates(params: How, batches: int, epochs: int, schedule_of: Any = None) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    steps = Steps(params, optimizer, schedule_of(optimizer) if schedule_of else None, batches, CPU)
    found = []
    for _ in range(epochs):
        for _ in range(batches):
            found.append(optimizer.param_groups[0]["lr"])
            steps.take((optimizer.param_groups[0]["params"][0] * 1).sum())
        steps.after_epoch(0.0)
    return found


class _Said(How):
    epochs: int = 9


def test_a_warm_up_rises_to_the_rate_and_the_scheduler_begins_there() -> None:
    found = rates(_Said(warmup_epochs=2), 2, 4)
    assert np.allclose(found, [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])
    found = rates(
        _Said(warmup_epochs=1), 2, 4, lambda o: make_schedule("StepLR", o, {"step_size": 1, "gamma": 0.5}, 1.0, 3, 2)
    )
    assert np.allclose(found, [1 / 3, 2 / 3, 1, 1, 0.5, 0.5, 0.25, 0.25])
    found = rates(_Said(warmup_epochs=1), 4, 3, lambda o: make_schedule("OneCycleLR", o, {}, 1.0, 2, 4))
    assert found[3] < found[4] == pytest.approx(1 / 25) and max(found) == pytest.approx(1, abs=0.05)


def test_schedulers_follow_each_other() -> None:
    phases = [
        Phase(scheduler="LinearLR", args={"start_factor": 0.5, "total_iters": 2}, epochs=2),
        Phase(scheduler="CosineAnnealingLR"),
    ]
    found = rates(_Said(), 1, 6, lambda o: make_sequence(phases, o, 1.0, 6))
    assert np.allclose(found, [0.5, 0.75, *(0.5 + 0.5 * np.cos(np.pi * n / 4) for n in range(4))])


# weights of classes


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    y = np.array([0] * 7 + [1] * 2 + [2] * 1)
    found = weighted("balanced", "cross_entropy", {"label_smoothing": 0.1}, y, 3)
    assert np.allclose(found["weight"], compute_class_weight("balanced", classes=np.arange(3), y=y))
    assert found["label_smoothing"] == 0.1
    # of segmentation: pixels that do not count are no class
    assert weighted("balanced", "cross_entropy", {}, np.array([[[0, 1], [1, -1]]]), 2)["weight"] == [1.5, 0.75]
    assert weighted("balanced", "bce_with_logits", {}, np.array([0, 0, 0, 1]), 2) == {"pos_weight": [3.0]}
    labels = np.array([[0, 1], [0, 1], [1, 0], [0, 1]])
    assert weighted("balanced", "bce_with_logits", {}, labels, 2) == {"pos_weight": [3.0, pytest.approx(1 / 3)]}
    with pytest.raises(StageError, match="class_weights has 2 values, and the loss takes 3"):
        weighted([1.0, 2.0], "cross_entropy", {}, y, 3)
    with pytest.raises(StageError, match="the loss soft_margin takes no weights"):
        weighted("balanced", "soft_margin", {}, y, 3)


# augmentation


def test_the_table_of_transforms_is_that_of_torchvision() -> None:
    v2 = import_torchvision("transforms.v2")
    left_out = {"policy", "antialias", "expand", "inplace"}
    for name, known in augment_names.AUGMENTS.items():
        arguments = inspect.signature(getattr(v2, name)).parameters
        assert set(known) <= set(arguments) and set(arguments) - set(known) <= left_out, name
        needed = [one for one, how in arguments.items() if how.default is inspect.Parameter.empty]
        assert needed == ([augment_names.NEEDED[name]] if name in augment_names.NEEDED else []), name


@pytest.mark.parametrize("name", augment_names.AUGMENTS)
def test_every_transform_runs(name: str) -> None:
    needed = {
        "size": 32,
        "degrees": 20,
        "bits": 4,
        "threshold": 128,
        "kernel_size": 3,
        "sharpness_factor": 2,
    }
    argument = augment_names.NEEDED.get(name)
    x = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    x = x.float() if name == "GaussianNoise" else x
    torch.manual_seed(0)
    made, y = Augmentation([{name: {argument: needed[argument]} if argument else {}}])(
        x, torch.arange(2), has_masks=False
    )
    assert made.shape == x.shape and made.dtype == x.dtype and y is not None and y.tolist() == [0, 1]


@pytest.mark.parametrize("name", [one for one, known in augment_names.AUGMENTS.items() if "interpolation" in known])
def test_every_transform_interpolates_as_it_is_told(name: str) -> None:
    needed = {argument: 30 for argument in [augment_names.NEEDED.get(name)] if argument}
    x = torch.randint(0, 256, (8, 3, 30, 30), dtype=torch.uint8)
    made = []
    for interpolation in augment_names.INTERPOLATIONS:
        torch.manual_seed(0)
        made.append(Augmentation([{name: {**needed, "interpolation": interpolation}}])(x, None, has_masks=False)[0])
    assert not torch.equal(*made)


def test_samples_are_changed_one_by_one_and_masks_with_them() -> None:
    torch.manual_seed(0)
    x = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).repeat(32, 1, 1, 1)
    made, masks = Augmentation([{"RandomHorizontalFlip": {}}, {"RandomRotation": {"degrees": 90}}])(
        x, x[:, 0].long(), has_masks=True
    )
    assert masks is not None and masks.dtype == torch.int64
    assert len({one.numpy().tobytes() for one in made}) > 8
    flipped, masks = Augmentation([{"RandomHorizontalFlip": {}}])(x, x[:, 0].long(), has_masks=True)
    assert masks is not None and (flipped[:, 0] == masks).all() and len(flipped.unique(dim=0)) == 2


def test_a_transform_that_does_not_fit_the_samples() -> None:
    x = torch.zeros((2, 3, 8, 8), dtype=torch.uint8)
    with pytest.raises(StageError, match=r"augment makes samples of \(3, 4, 4\)"):
        Augmentation([{"RandomCrop": {"size": 4}}])(x, None, has_masks=False)
    with pytest.raises(StageError, match="augment: RandomErasing: "):
        Augmentation([{"RandomErasing": {"p": 3}}])
    with pytest.raises(StageError, match="augment is for images"):
        Augmentation([{"RandomInvert": {}}])(x[:, 0, 0], None, has_masks=False)


# params


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"augment": [{"RandomFlip": {}}]}, "cannot hold 'RandomFlip'; "),
        ({"augment": [{"RandomHorizontalFlip": {"q": 1}}]}, "gives RandomHorizontalFlip 'q', which it does not take"),
        (
            {"augment": [{"RandomRotation": {"degrees": 9, "interpolation": "linear"}}]},
            "gives RandomRotation the interpolation 'linear', which must be nearest or bilinear",
        ),
        ({"augment": [{"RandomCrop": {}}]}, "RandomCrop needs 'size': write '{RandomCrop: {size: …}}'"),
        ({"augment": [{"RandomInvert": {}, "RandomCrop": {}}]}, "must hold one transform each"),
        ({"warmup_epochs": 10}, "warmup_epochs 10 leaves none of 10 epochs"),
        ({"schedule": [{"scheduler": "OneCycleLR"}]}, "cannot be 'OneCycleLR' in a sequence"),
        ({"schedule": [{"scheduler": "StepLR"}]}, "scheduler StepLR needs 'step_size'"),
        ({"schedule": [{"scheduler": "LinearLR", "args": {"gamma": 1}}]}, "args cannot hold 'gamma'"),
        ({"schedule": [{"scheduler": "LinearLR"}] * 2}, "only the last scheduler may leave out `epochs`"),
        ({"schedule": [{"scheduler": "LinearLR", "epochs": 11}]}, "schedule takes 11 epochs and more"),
        ({"schedule": [{"scheduler": "LinearLR"}], "scheduler": "LinearLR"}, "keep one"),
        ({"class_weights": "balanced", "task": "regression"}, "the task regression has no classes"),
        ({"class_weights": "balanced", "loss_args": {"weight": [1, 2]}}, "class_weights and loss_args both give"),
        ({"class_weights": "balanced", "loss": "models.a:b"}, "your own loss can weigh by itself"),
        ({"function": "fit"}, "must be 'module:function'"),
    ],
)  # fmt: skip
def test_params_that_do_not_go_together(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainParams(model={"name": "models.a:B"}, **params)
    assert said in str(caught.value)


def test_float16_is_for_gpus() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(StageError, match="precision float16 is not for cpu"):
        Steps(_Said(precision="float16"), optimizer, None, 1, CPU)
