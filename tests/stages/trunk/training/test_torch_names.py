# environment: torch
"""The tables of names and arguments say what the PyTorch of this environment takes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from torch import nn, optim
from torch.optim import lr_scheduler

from recast.stages.trunk.training import torch_names

BASES = {"Optimizer", "LRScheduler"}
LEFT_OUT = {"params", "lr", "optimizer", "last_epoch", "scale_fn", "size_average", "reduce"}


def arguments(made: type) -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(made).parameters if name not in LEFT_OUT)


def classes(module: Any, base: type) -> dict[str, type]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and name not in BASES and not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("module", "base", "table"),
    [
        (optim, optim.Optimizer, torch_names.OPTIMIZERS),
        (lr_scheduler, lr_scheduler.LRScheduler, torch_names.SCHEDULERS),
    ],
    ids=["optimizers", "schedulers"],
)
def test_optimizers_and_schedulers(module: Any, base: type, table: dict[str, tuple[str, ...]]) -> None:
    there = classes(module, base)
    assert {*table, *torch_names.UNSUITED} >= {*there}
    assert {name: arguments(there[name]) for name in table} == table


def test_unsuited_ones_are_there() -> None:
    there = {**classes(optim, optim.Optimizer), **classes(lr_scheduler, lr_scheduler.LRScheduler)}
    assert set(torch_names.UNSUITED) <= set(there)


def test_losses() -> None:
    losses = {name for name in vars(nn) if name.endswith("Loss")}
    assert losses == {*torch_names.LOSSES, *torch_names.OTHER_LOSSES}
    assert {name: arguments(getattr(nn, name)) for name in torch_names.LOSSES} == torch_names.LOSSES


def test_what_a_scheduler_needs_is_what_has_no_default() -> None:
    # `recast.stages.trunk.training.optimisation` gives these
    given = {("CosineAnnealingLR", "T_max"), ("OneCycleLR", "max_lr")}
    needed = [
        (name, argument.name)
        for name in torch_names.SCHEDULERS
        for argument in inspect.signature(getattr(lr_scheduler, name)).parameters.values()
        if argument.default is argument.empty and argument.name != "optimizer"
    ]
    stated = [(name, argument) for name, named in torch_names.NEEDED.items() for argument in named]
    assert {*stated, *given} == {*needed}
