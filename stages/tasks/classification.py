"""One of K classes for each sample: outputs (N, K) are scores, the largest of which is the answer."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from recast.stages.base import Plot, StageError
from recast.stages.tasks import measures
from recast.stages.tasks.task import Metric, Scorer, Task, class_name
from recast.stages.tasks.task import Options as NoOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract

CONFUSION = Plot(
    "confusion.csv", x="actual", y=("predicted",), template="confusion", title="Confusion of the emitted model"
)


class _Scorer(Scorer):
    def __init__(self) -> None:
        self._right = self._all = 0

    def update(self, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any]) -> None:
        if truth is not None:
            self._right += int((outputs.argmax(axis=1) == truth).sum())
            self._all += len(truth)

    def metrics(self) -> dict[str, float]:
        return {"accuracy": self._right / self._all} if self._all else {}


class ClassificationOptions(NoOptions):
    """What a recipe may say of a classifier."""

    spare_outputs: bool = Field(default=False, description="the model may be trained with more outputs than classes")


class Classification(Task):
    """Labels (N,) of K classes."""

    Options = ClassificationOptions
    name = "classification"
    wanted = "scores (N, classes)"
    mend_outputs = "give the model one output per class"
    metrics = (Metric("accuracy", is_share=True),)
    losses = ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss")
    plots = (CONFUSION,)
    keeps_classes = True
    names_one_class = True

    def truth(self, y: NDArray[Any] | None, what: str) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
        """Whole numbers 0 to K-1, none missing."""
        import numpy as np

        labels = measures.whole_numbers(y, what, "(N,)")
        if labels.ndim != 1:
            raise StageError(
                f"{what}: y has dtype {labels.dtype} and shape {labels.shape}",
                "give one integer label per sample, shape (N,)",
                "name the task that such labels are of, at the top of the recipe: task: regression, segmentation, ...",
            )
        known = np.unique(labels)
        if len(known) < 2:
            raise StageError(f"{what}: y holds only class {known[0]}", "give samples of at least two classes")
        if known[0] < 0 or known[-1] != len(known) - 1:
            few = ", ".join(str(label) for label in known[:8]) + (", ..." if len(known) > 8 else "")
            raise StageError(
                f"{what}: y holds the labels {few}; classes must be 0 to K-1 with none missing",
                "renumber them: np.unique(y, return_inverse=True)[1]",
            )
        return labels, tuple(str(label) for label in known)

    def strata(self, y: NDArray[Any] | None) -> NDArray[Any] | None:
        """The classes."""
        return y

    def misfit(self, shape: Sequence[int], contract: Contract, truth: Sequence[int]) -> str:
        """A score for each class at least."""
        classes = len(contract.classes)
        fits = len(shape) == 2 and shape[1] >= classes
        return "" if fits else f"the data's {classes} classes need ({shape[0] if shape else 2}, {classes})"

    def excess(self, shape: Sequence[int], contract: Contract) -> str:
        """No output is trained that no sample has as its class, unless the recipe says that it may be."""
        classes = len(contract.classes)
        if self.options.spare_outputs or shape[1] == classes:
            return ""
        return f"has {shape[1]} outputs, and the data {classes} classes: {shape[1] - classes} would never be right"

    def scorer(self, contract: Contract) -> Scorer:
        """Accuracy: the share of samples whose largest score is their class."""
        return _Scorer()

    def agreement(self, reference: NDArray[Any], candidate: NDArray[Any]) -> float | None:
        """The share of samples for which both choose the same class."""
        if reference.ndim != 2 or reference.shape != candidate.shape:
            return None
        return float((reference.argmax(axis=1) == candidate.argmax(axis=1)).mean())

    def write(
        self, out: Path, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any], contract: Contract
    ) -> None:
        """confusion.csv: the class and the answer of each sample."""
        if truth is not None:
            write_confusion(out, truth, outputs.argmax(axis=1), contract.classes)

    def meaning(self, contract: Contract) -> str:
        """Scores by class."""
        return "one score per class, in the order of `classes` in `input.json`"

    def says(self, output: NDArray[Any], x: NDArray[Any], contract: Contract) -> str:
        """The class with the largest score."""
        return class_name(contract.classes, int(output.argmax()))

    def truth_says(self, truth: NDArray[Any], contract: Contract) -> str:
        """The class."""
        return class_name(contract.classes, int(truth))

    def answer(self, outputs: str, contract: str) -> str:
        """The names of the chosen classes."""
        return f'[{contract}["classes"][i] for i in {outputs}.argmax(axis=1)]'


def write_confusion(out: Path, truth: NDArray[Any], chosen: NDArray[Any], classes: Sequence[str]) -> None:
    """Write confusion.csv: a row a sample, by the names of the classes."""
    with (out / CONFUSION.file).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("actual", "predicted"))
        rows.writerows(
            (classes[label], class_name(classes, int(choice))) for label, choice in zip(truth, chosen, strict=True)
        )


TASK = Classification
