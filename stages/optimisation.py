"""The optimizers, losses and learning-rate schedules a recipe can name, found in PyTorch itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.base import StageError
from stages.spelling import did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import nn

CLASSIFICATION_LOSSES = ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss")
"""the losses of torch.nn that take scores (N, classes) and one integer label per sample"""
UNSUITED_OPTIMIZERS = ("Optimizer", "LBFGS", "SparseAdam")
"""a base class, one that needs a closure, one that takes only sparse gradients"""
UNSUITED_SCHEDULERS = ("LRScheduler", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler")
"""a base class, and those made from functions or other schedulers, which a recipe cannot write"""


@dataclass(frozen=True)
class Schedule:
    """A PyTorch scheduler and when it steps."""

    scheduler: Any
    every: str
    """'batch', 'epoch', or 'plateau': after an epoch, told that epoch's validation loss"""


def make_optimizer(name: str, model: nn.Module, lr: float, args: Mapping[str, Any]) -> torch.optim.Optimizer:
    """`torch.optim.<name>`, in any case, over the model's trainable parameters; StageError if there is none."""
    import torch

    classes = {
        key: value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and key not in UNSUITED_OPTIMIZERS
    }
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
        return classes[_found(name, classes, "optimizer")](trainable, lr=lr, **pairs)
    except (TypeError, ValueError) as error:
        raise StageError(f"optimizer {name}: {error}", "mend train.lr or train.optimizer_args") from error


def make_loss(name: str, args: Mapping[str, Any]) -> nn.Module:
    """The loss of torch.nn `name` means: CrossEntropyLoss, cross_entropy and crossentropy are one; or StageError."""
    import torch
    from torch import nn

    known = {loss.removesuffix("Loss"): loss for loss in CLASSIFICATION_LOSSES}
    bare = name if not name.lower().endswith("loss") else name[:-4].rstrip("_")
    if not any(_folded(bare) == _folded(key) for key in known) and hasattr(nn, name) and name.endswith("Loss"):
        raise StageError(
            f"loss {name} does not take one class label per sample", f"supported: {', '.join(CLASSIFICATION_LOSSES)}"
        )
    chosen = known[_found(bare, known, "loss", shown=name, listed=CLASSIFICATION_LOSSES)]
    # class weights come as a list
    tensors = {
        key: torch.tensor(value, dtype=torch.float32) if isinstance(value, list) else value
        for key, value in args.items()
    }
    try:
        loss: nn.Module = getattr(nn, chosen)(**tensors)
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

    classes = {
        key: value
        for key, value in vars(lr_scheduler).items()
        if isinstance(value, type)
        and issubclass(value, lr_scheduler.LRScheduler)
        and not key.startswith("_")
        and key not in UNSUITED_SCHEDULERS
    }
    chosen = _found(name, classes, "scheduler")
    defaults: dict[str, dict[str, Any]] = {
        "CosineAnnealingLR": {"T_max": epochs},
        "PolynomialLR": {"total_iters": epochs},
        "OneCycleLR": {"max_lr": lr, "total_steps": epochs * batches},
    }
    given = defaults.get(chosen, {}) | dict(args)
    if chosen == "OneCycleLR" and {"epochs", "steps_per_epoch"} <= args.keys():
        del given["total_steps"]
    try:
        scheduler = classes[chosen](optimizer, **given)
    except (TypeError, ValueError) as error:
        raise StageError(f"scheduler {name}: {error}", "mend train.scheduler_args") from error
    every = {"OneCycleLR": "batch", "CyclicLR": "batch", "ReduceLROnPlateau": "plateau"}.get(chosen, "epoch")
    return Schedule(scheduler, every)


def _found(name: str, known: Iterable[str], kind: str, shown: str = "", listed: Iterable[str] = ()) -> str:
    known = list(known)
    for key in known:
        if _folded(key) == _folded(name):
            return key
    raise StageError(f"there is no {kind} '{shown or name}'", did_you_mean(shown or name, listed or known))


def _folded(name: str) -> str:
    return name.lower().replace("_", "")
