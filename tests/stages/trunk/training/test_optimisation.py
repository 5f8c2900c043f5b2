# environment: torch
from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from recast.stages.base import StageError
from recast.stages.trunk.training.optimisation import make_loss, make_optimizer, make_schedule

MODEL = nn.Linear(2, 2)


def refused(call: Any, *args: Any) -> str:
    with pytest.raises(StageError) as caught:
        call(*args)
    return f"{caught.value.message} | {caught.value.remedy}"


@pytest.mark.parametrize("name", ["adam", "Adam", "SGD", "sgd", "AdamW", "rmsprop"])
def test_optimizers_in_any_case(name: str) -> None:
    optimizer = make_optimizer(name, MODEL, 0.25, {"weight_decay": 0.5})
    assert type(optimizer).__name__.lower() == name.lower()
    assert optimizer.param_groups[0]["lr"] == 0.25 and optimizer.param_groups[0]["weight_decay"] == 0.5


def test_a_pair_from_yaml_is_a_list() -> None:
    assert make_optimizer("adam", MODEL, 0.1, {"betas": [0.5, 0.75]}).param_groups[0]["betas"] == (0.5, 0.75)


def test_unfit_optimizers_are_refused() -> None:
    message = refused(make_optimizer, "adm", MODEL, 0.1, {})
    assert message.startswith("optimizer cannot be 'adm' | did you mean 'Adam'?")
    assert "it needs a closure | known:" in refused(make_optimizer, "lbfgs", MODEL, 0.1, {}).replace("; ", " | ")
    assert "optimizer adam: " in refused(make_optimizer, "adam", MODEL, 0.1, {"momentum": 1})
    assert "ReLU has no trainable parameters" in refused(make_optimizer, "adam", nn.ReLU(), 0.1, {})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cross_entropy", "CrossEntropyLoss"),
        ("CrossEntropyLoss", "CrossEntropyLoss"),
        ("crossentropy", "CrossEntropyLoss"),
        ("cross_entropy_loss", "CrossEntropyLoss"),
        ("NLLLoss", "NLLLoss"),
        ("nll", "NLLLoss"),
        ("multi_margin", "MultiMarginLoss"),
    ],
)
def test_losses_by_any_of_their_names(name: str, kind: str) -> None:
    assert type(make_loss(name, {})) is getattr(nn, kind)


def test_loss_arguments() -> None:
    loss = make_loss("cross_entropy", {"label_smoothing": 0.5, "weight": [1, 2]})
    assert loss.label_smoothing == 0.5 and torch.equal(loss.weight, torch.tensor([1.0, 2.0]))  # type: ignore[arg-type]


def test_unfit_losses_are_refused() -> None:
    message = refused(make_loss, "cros_entropy", {})
    assert message.startswith("loss cannot be 'cros_entropy' | did you mean 'CrossEntropyLoss'?")
    for name in ("CTCLoss", "ctc", "BCE_loss"):
        assert f"loss cannot be '{name}': no task gives it what it takes" in refused(make_loss, name, {})
    assert "loss nll: " in refused(make_loss, "nll", {"smooth": 1})
    assert "reduction must be 'mean'" in refused(make_loss, "nll", {"reduction": "sum"})


@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("cosine_annealing_lr", "epoch"),
        ("CosineAnnealingLR", "epoch"),
        ("onecyclelr", "batch"),
        ("ReduceLROnPlateau", "plateau"),
    ],
)
def test_schedules_and_when_they_step(name: str, every: str) -> None:
    optimizer = make_optimizer("sgd", MODEL, 0.1, {})
    assert make_schedule(name, optimizer, {}, 0.1, 3, 5).every == every


def test_lengths_are_those_of_the_run() -> None:
    optimizer = make_optimizer("sgd", MODEL, 0.1, {})
    assert make_schedule("CosineAnnealingLR", optimizer, {}, 0.1, 3, 5).scheduler.T_max == 3
    assert make_schedule("CosineAnnealingLR", optimizer, {"T_max": 9}, 0.1, 3, 5).scheduler.T_max == 9
    assert make_schedule("OneCycleLR", optimizer, {}, 0.1, 3, 5).scheduler.total_steps == 15


def test_unfit_schedules_are_refused() -> None:
    optimizer = make_optimizer("sgd", MODEL, 0.1, {})
    message = refused(make_schedule, "Cosine", optimizer, {}, 0.1, 3, 5)
    assert message == "scheduler cannot be 'Cosine' | did you mean 'CosineAnnealingLR'?"
    assert "it is made from a function" in refused(make_schedule, "LambdaLR", optimizer, {}, 0.1, 3, 5)
    assert "scheduler StepLR: " in refused(make_schedule, "StepLR", optimizer, {}, 0.1, 3, 5)
