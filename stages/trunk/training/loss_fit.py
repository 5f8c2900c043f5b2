"""Whether what a model gives is what its loss takes: what trains to nonsense is refused at the first batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recast.stages.base import StageError

if TYPE_CHECKING:
    from torch import Tensor

_CLOSE = 1e-3
"""how far from 1 probabilities that a softmax made may add up to, in float16 too"""


class FirstBatch:
    """Looks at the outputs of the first batch alone, which waits for an accelerator once."""

    def __init__(self, loss: str) -> None:
        """`loss`: its class in torch.nn."""
        self._loss, self._looked = loss, False

    def check(self, outputs: Tensor) -> None:
        """StageError for outputs (N, classes, ...) that the loss does not take."""
        if not self._looked:
            self._looked = True
            refuse(self._loss, outputs.detach())


def refuse(loss: str, outputs: Tensor) -> None:
    """The same, for a loss of torch.nn by its class."""
    if outputs.ndim < 2 or not outputs.numel() or not bool(outputs.isfinite().all()):
        return  # a loss that is not finite is said with what usually is its cause
    scores = outputs.float()
    if loss == "NLLLoss" and not _are_one(scores.exp()):
        raise StageError(
            "loss nll takes logarithms of probabilities, and the model gives others: they do not add up to 1",
            "set train.loss to cross_entropy, which takes scores as they are",
            "end the model with nn.LogSoftmax(dim=1)",
        )
    if loss == "CrossEntropyLoss" and outputs.shape[1] > 1 and bool((scores >= 0).all()) and _are_one(scores):
        raise StageError(
            "loss cross_entropy takes scores, and the model gives probabilities: a softmax would be taken twice",
            "drop the softmax at the model's end",
            "end the model with nn.LogSoftmax(dim=1), and set train.loss to nll",
        )


def _are_one(probabilities: Tensor) -> bool:
    return bool((probabilities.sum(dim=1) - 1).abs().max() < _CLOSE)
