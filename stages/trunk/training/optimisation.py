"""The optimizers, losses and learning-rate schedules a recipe names, made by PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.trunk.training.torch_names import LOSSES, OPTIMIZERS, SCHEDULERS, require

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Schedule:
    """A PyTorch scheduler and when it steps."""

    scheduler: Any
    every: str
    """'batch', 'epoch', or 'plateau': after an epoch, told that epoch's validation loss"""


def make_optimizer(name: str, model: nn.Module, lr: float, args: Mapping[str, Any]) -> torch.optim.Optimizer:
    """`torch.optim.<name>`, in any case, over the model's trainable parameters; StageError if there is none."""
    import torch

    chosen = getattr(torch.optim, _found("optimizer", name, OPTIMIZERS))
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise StageError(
            f"{type(model).__name__} has no trainable parameters",
            "register its layers as attributes or in an nn.ModuleList, and leave requires_grad on",
            "load weights in place of training: set train.weights",
        )
    # YAML writes a pair, such as Adam's betas, as a list
    pairs = {key: tuple(value) if isinstance(value, list) else value for key, value in args.items()}
    try:
        optimizer: torch.optim.Optimizer = chosen(trainable, lr=lr, **pairs)
    except (TypeError, ValueError) as error:
        raise StageError(f"optimizer {name}: {error}", "mend train.lr or train.optimizer_args") from error
    return optimizer


def make_loss(name: str, args: Mapping[str, Any]) -> nn.Module:
    """The loss of torch.nn `name` means: CrossEntropyLoss, cross_entropy and crossentropy are one; or StageError."""
    import torch
    from torch import nn

    chosen = getattr(nn, _found("loss", name, LOSSES))
    # class weights come as a list
    tensors = {
        key: torch.tensor(value, dtype=torch.float32) if isinstance(value, list) else value
        for key, value in args.items()
    }
    try:
        loss: nn.Module = chosen(**tensors)
    except (TypeError, ValueError) as error:
        raise StageError(f"loss {name}: {error}", "mend train.loss_args") from error
    if getattr(loss, "reduction", "mean") != "mean":
        raise StageError("loss_args.reduction must be 'mean'", "drop it: mean is the default")
    return loss


def make_schedule(
    name: str, optimizer: torch.optim.Optimizer, args: Mapping[str, Any], lr: float, epochs: int, batches: int
) -> Schedule:
    """`torch.optim.lr_scheduler.<name>`, its length filled in from the run's; StageError if there is none.

    CosineAnnealingLR and PolynomialLR span the epochs, OneCycleLR all batches with `lr` its peak, unless
    `args` say otherwise. OneCycleLR and CyclicLR step after each batch, the others after each epoch.
    """
    from torch.optim import lr_scheduler

    chosen = _found("scheduler", name, SCHEDULERS)
    defaults: dict[str, dict[str, Any]] = {
        "CosineAnnealingLR": {"T_max": epochs},
        "PolynomialLR": {"total_iters": epochs},
        "OneCycleLR": {"max_lr": lr, "total_steps": epochs * batches},
    }
    given = defaults.get(chosen, {}) | dict(args)
    if chosen == "OneCycleLR" and {"epochs", "steps_per_epoch"} <= args.keys():
        del given["total_steps"]
    try:
        scheduler = getattr(lr_scheduler, chosen)(optimizer, **given)
    except (TypeError, ValueError) as error:
        raise StageError(f"scheduler {name}: {error}", "mend train.scheduler_args") from error
    every = {"OneCycleLR": "batch", "CyclicLR": "batch", "ReduceLROnPlateau": "plateau"}.get(chosen, "epoch")
    return Schedule(scheduler, every)


def _found(kind: str, name: str, known: Mapping[str, tuple[str, ...]]) -> str:
    try:
        return require(name, known)
    except ValueError as error:
        said, _, remedy = str(error).partition("; ")
        raise StageError(f"{kind} {said}", remedy) from error
