"""Yes or no for each sample: outputs (N, 1) are logits, above 0 for yes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.tasks import measures
from recast.stages.tasks.classification import CONFUSION, write_confusion
from recast.stages.tasks.task import Metric, Scorer, Task, class_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract


class LogitScorer(Scorer):
    """Of logits (N, K) or (N,), above 0 for yes: accuracy over all; F1 and area under the ROC curve, means over K."""

    def __init__(self) -> None:
        self._logits: list[NDArray[Any]] = []
        self._true: list[NDArray[Any]] = []

    def update(self, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any]) -> None:
        if truth is not None:
            self._logits.append(_columns(outputs))
            self._true.append(_columns(truth) == 1)

    def metrics(self) -> dict[str, float]:
        import numpy as np

        if not self._true:
            return {}
        logits, true = np.concatenate(self._logits), np.concatenate(self._true)
        said = logits > 0
        found = {
            "accuracy": float((said == true).mean()),
            "f1": float(measures.f1((said & true).sum(0), said.sum(0), true.sum(0)).mean()),
        }
        areas = [measures.auc(logits[:, label], true[:, label]) for label in range(true.shape[1])]
        known = [area for area in areas if area is not None]
        return {**found, "auc": float(np.mean(known))} if known else found


class Binary(Task):
    """Labels (N,) or (N, 1), 0 or 1."""

    name = "binary"
    wanted = "one logit each, (N, 1)"
    mend_outputs = "give the model one output"
    metrics = (Metric("accuracy", is_share=True), Metric("auc", is_share=True), Metric("f1", is_share=True))
    losses = ("BCEWithLogitsLoss", "SoftMarginLoss")
    plots = (CONFUSION,)
    keeps_classes = True

    def truth(self, y: NDArray[Any] | None, what: str) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
        """0 and 1, both there."""
        labels = measures.whole_numbers(y, what, "(N,)")
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1:
            raise StageError(f"{what}: y has shape {labels.shape}", "give one label per sample, 0 or 1, shape (N,)")
        measures.of_zero_and_one(labels, what)
        if len(set(labels.tolist())) < 2:
            raise StageError(f"{what}: y holds only {labels[0]}", "give samples of both kinds")
        return labels, ("0", "1")

    def strata(self, y: NDArray[Any] | None) -> NDArray[Any] | None:
        """The two kinds."""
        return y

    def misfit(self, shape: Sequence[int], contract: Contract, truth: Sequence[int]) -> str:
        """One logit."""
        return "" if tuple(shape[1:]) in ((1,), ()) else f"a binary task needs one logit each, ({shape[0]}, 1)"

    def pair(self, outputs: Any, y: Any, x: Any, loss: str) -> tuple[Any, Any]:
        """Logits (N,) and floats; -1 and 1 for a margin."""
        target = y.to(outputs.dtype)
        return outputs.reshape(-1), 2 * target - 1 if loss == "SoftMarginLoss" else target

    def scorer(self, contract: Contract) -> Scorer:
        """Accuracy and F1 at logit 0, and the area under the ROC curve."""
        return LogitScorer()

    def agreement(self, reference: NDArray[Any], candidate: NDArray[Any]) -> float | None:
        """The share of samples for which both say the same."""
        return same_sign(reference, candidate)

    def write(
        self, out: Path, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any], contract: Contract
    ) -> None:
        """confusion.csv."""
        if truth is not None:
            write_confusion(out, truth, (outputs.reshape(-1) > 0).astype(int), contract.classes)

    def meaning(self, contract: Contract) -> str:
        """A logit."""
        return "one logit, above 0 where the sample is of the second of `classes` in `input.json`"

    def says(self, output: NDArray[Any], x: NDArray[Any], contract: Contract) -> str:
        """The class."""
        return class_name(contract.classes, int(output.reshape(-1)[0] > 0))

    def truth_says(self, truth: NDArray[Any], contract: Contract) -> str:
        """The class."""
        return class_name(contract.classes, int(truth.reshape(-1)[0]))

    def answer(self, outputs: str, contract: str) -> str:
        """The names of the classes."""
        return f'[{contract}["classes"][int(logit > 0)] for logit in {outputs}.reshape(-1)]'


def _columns(values: NDArray[Any]) -> NDArray[Any]:
    """One label for each sample, (N,), as a column (N, 1)."""
    return values if values.ndim == 2 else values.reshape(-1, 1)


def same_sign(reference: NDArray[Any], candidate: NDArray[Any]) -> float | None:
    """The share of logits that both have above 0, or both not."""
    if reference.shape != candidate.shape:
        return None
    return float(((reference > 0) == (candidate > 0)).mean())


TASK = Binary
