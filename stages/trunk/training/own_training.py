"""What a training function of the project's own is given: samples, what the recipe says, and where to report."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError

if TYPE_CHECKING:
    import torch


@dataclass
class Training:
    """Given to `fit(model, training)`, which changes the model's weights in place.

    The seed is set, operations without a deterministic form are refused, and the model is on `device`.
    """

    epochs: int
    batch_size: int
    lr: float
    seed: int
    device: torch.device
    loss: Callable[[Any, Any, Any], torch.Tensor]
    """of outputs, labels and the model's input: the recipe's, or the task's own"""
    batches: Callable[[], Iterator[tuple[Any, Any]]]
    """one pass over the train split in a new random order: (input, labels), as the model takes them, on the device"""
    end_epoch: Callable[[float], float]
    """told the epoch's mean loss: shows it, and gives that of the validation split, or the same if there is none"""


def fit(function: Callable[..., Any], name: str, model: Any, training: Training, rows: Sequence[str]) -> None:
    """Have the project's function train. StageError if it fails, or adds no epoch to `rows`, those of loss.csv."""
    from recast.stages.common.torch_models import user_code

    try:
        function(model, training)
    except StageError:
        raise
    except Exception as error:
        if "deterministic" in str(error) or type(error).__name__ == "OutOfMemoryError":
            raise  # said alike, whoever trains
        traceback.print_exc()
        place = user_code.place_of(error)
        said = f"{name} fails: {type(error).__name__}: {error}" + (f" ({place})" if place else "")
        raise StageError(said, "mend it there") from error
    if not rows:
        raise StageError(
            f"{name} told of no epoch", "call training.end_epoch(loss) after each, with the mean loss over its samples"
        )
