"""One step of training: precision, gradients cut short, and the learning rate of each batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.trunk.training import torch_names
from recast.stages.trunk.training.how import How, Phase
from recast.stages.trunk.training.optimisation import Schedule, make_schedule

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


class Steps:
    """Takes a model's steps: `with steps.precision(): loss = …`, then `take(loss)`, and `after_epoch` each time."""

    def __init__(
        self,
        params: How,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule | None,
        batches: int,
        device: torch.device,
    ) -> None:
        """`schedule` goes on from where the warm-up ends. StageError for a precision that the device lacks."""
        import torch

        self._params, self._optimizer, self._schedule = params, optimizer, schedule
        self._warm = params.warmup_epochs * batches
        self._taken = 0
        # a scheduler may have set another rate than the recipe's to begin with
        self._rates = [group["lr"] for group in optimizer.param_groups]
        if params.precision == "float16" and device.type != "cuda":
            raise StageError(f"precision float16 is not for {device.type}", "set train.precision to bfloat16")
        self._device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=params.precision == "float16")
        self._warm_up()

    def precision(self) -> AbstractContextManager[Any]:
        """In which the model and its loss are computed."""
        import torch

        if self._params.precision == "float32":
            return nullcontext()
        found: AbstractContextManager[Any] = torch.autocast(
            self._device.type, dtype=getattr(torch, self._params.precision)
        )
        return found

    def take(self, loss: torch.Tensor) -> None:
        """Change the weights by the gradients of this loss."""
        import torch

        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        params = self._params
        if params.clip_norm or params.clip_value:
            self._scaler.unscale_(self._optimizer)
            weights = [one for group in self._optimizer.param_groups for one in group["params"]]
            if params.clip_value:
                torch.nn.utils.clip_grad_value_(weights, params.clip_value)
            if params.clip_norm:
                torch.nn.utils.clip_grad_norm_(weights, params.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._taken += 1
        if self._taken <= self._warm:
            self._warm_up()
        elif self._schedule and self._schedule.every == "batch":
            self._schedule.scheduler.step()

    def after_epoch(self, watched: float) -> None:
        """`watched`: the epoch's validation loss, or train loss."""
        if self._schedule and self._schedule.every != "batch" and self._taken > self._warm:
            self._schedule.scheduler.step(*([watched] if self._schedule.every == "plateau" else []))

    def _warm_up(self) -> None:
        """From one share of the rate at the first batch to all of it at the first batch after the warm-up."""
        if self._warm:
            for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
                group["lr"] = rate * min(1.0, (self._taken + 1) / (self._warm + 1))


def make_sequence(phases: Iterable[Phase], optimizer: torch.optim.Optimizer, lr: float, epochs: int) -> Schedule:
    """The schedulers one after the other, each as long as its phase; the last takes what is left of the epochs."""
    from torch.optim import lr_scheduler

    made, ends, begun = [], [], 0
    for phase in phases:
        length = phase.epochs or epochs - begun
        made.append(make_schedule(phase.scheduler, optimizer, phase.args, lr, length, 1).scheduler)
        begun += length
        ends.append(begun)
    return Schedule(lr_scheduler.SequentialLR(optimizer, made, ends[:-1]), "epoch")


def weighted(
    said: str | list[float] | None, loss: str, args: Mapping[str, Any], y: NDArray[Any] | None, classes: int
) -> Mapping[str, Any]:
    """The loss's arguments with the weights of classes that the recipe asks for, of labels y of the train split.

    StageError for a loss that takes none, and for another number of weights than there are classes.
    """
    import numpy as np

    if said is None:
        return args
    kind = torch_names.find(loss, torch_names.LOSSES) or ""
    param = "pos_weight" if kind == "BCEWithLogitsLoss" else "weight"
    if y is None or param not in torch_names.LOSSES.get(kind, ()):
        raise StageError(f"the loss {loss} takes no weights of classes", "drop train.class_weights")
    if param == "pos_weight":
        rows = y.reshape(len(y), -1) if y.ndim <= 2 else y.reshape(-1, 1)
        positive = (rows == 1).sum(axis=0)
        counts, balanced = positive, (rows == 0).sum(axis=0) / np.maximum(positive, 1)
    else:
        counts = np.bincount(y[y >= 0].astype(np.int64), minlength=classes)
        balanced = counts.sum() / (len(counts) * np.maximum(counts, 1))
    if isinstance(said, list) and len(said) != len(counts):
        raise StageError(
            f"class_weights has {len(said)} values, and the loss takes {len(counts)}", "give one for each class"
        )
    return {**args, param: list(said) if isinstance(said, list) else balanced.tolist()}
