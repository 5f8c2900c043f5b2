"""One of K classes for each pixel: outputs (N, K, H, W) are scores; of two classes, one logit (N, 1, H, W) will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from recast.stages.base import StageError
from recast.stages.tasks import measures
from recast.stages.tasks.task import Metric, Scorer, Task, class_name
from recast.stages.tasks.task import Options as NoOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract

IGNORED = -1
"""what stands for a pixel that does not count, in the labels as they are kept"""


class SegmentationOptions(NoOptions):
    """Which pixels count."""

    ignore: int | None = Field(default=None, description="label of pixels that do not count, for example 255")


def chosen(outputs: NDArray[Any]) -> NDArray[np.int64]:
    """The class of each pixel (N, H, W)."""
    import numpy as np

    return (outputs[:, 0] > 0).astype(np.int64) if outputs.shape[1] == 1 else outputs.argmax(axis=1)


class _Scorer(Scorer):
    def __init__(self, classes: int) -> None:
        import numpy as np

        self._classes = classes
        self._counts = np.zeros((classes, classes), np.int64)

    def update(self, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any]) -> None:
        import numpy as np

        if truth is None:
            return
        counts = truth != IGNORED
        # a model may have more channels than the data has classes: what it says then is wrong in any case
        said = np.minimum(chosen(outputs)[counts], self._classes - 1)
        pairs = truth[counts] * self._classes + said
        self._counts += np.bincount(pairs, minlength=self._classes**2).reshape(self._counts.shape)

    def metrics(self) -> dict[str, float]:
        total = self._counts.sum()
        if not total:
            return {}
        both = self._counts.diagonal()
        either = self._counts.sum(0) + self._counts.sum(1) - both
        return {
            "iou": float((both[either > 0] / either[either > 0]).mean()),
            "pixel_accuracy": float(both.sum() / total),
        }


class Segmentation(Task):
    """Labels (N, H, W) of K classes."""

    name = "segmentation"
    wanted = "scores (N, classes, height, width)"
    mend_outputs = "give the model one channel per class, in the size of the labels"
    metrics = (Metric("iou", is_share=True), Metric("pixel_accuracy", is_share=True))
    losses = ("CrossEntropyLoss", "BCEWithLogitsLoss")
    labels_pixels = True
    Options = SegmentationOptions

    def truth(self, y: NDArray[Any] | None, what: str) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
        """Whole numbers 0 to K-1 for each pixel; those to be ignored become -1."""
        import numpy as np

        labels = measures.whole_numbers(y, what, "(N, height, width)")
        if labels.ndim == 4 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 3:
            raise StageError(f"{what}: y has shape {labels.shape}", "give a class for each pixel, (N, height, width)")
        if self.options.ignore is not None:
            labels = np.where(labels == self.options.ignore, IGNORED, labels)
        known = np.unique(labels[labels != IGNORED])
        if len(known) < 2 or known[0] < 0:
            few = ", ".join(map(str, known[:8]))
            raise StageError(
                f"{what}: y holds the labels {few or 'none'}; pixels must be of classes 0 to K-1, two or more",
                "renumber them, and name the label of pixels that do not count as task.ignore",
            )
        if known[-1] > 4 * len(known) + 16:
            raise StageError(
                f"{what}: y holds {len(known)} labels, the largest {known[-1]}",
                "renumber them 0 to K-1",
                f"set task.ignore to {known[-1]} if such pixels do not count",
            )
        return labels, tuple(str(label) for label in range(int(known[-1]) + 1))

    def misfit(self, shape: Sequence[int], contract: Contract, truth: Sequence[int]) -> str:
        """A score for each class at each pixel of a label."""
        classes = len(contract.classes)
        wanted = (shape[0] if shape else 2, classes, *truth)
        channels = shape[1] if len(shape) == 4 else 0
        fits = len(shape) == 4 and tuple(shape[2:]) == tuple(truth)
        fits = fits and (channels >= classes or (channels == 1 and classes == 2))
        return "" if fits else f"the data's {classes} classes and labels of {tuple(truth)} need {wanted}"

    def loss_for(self, shape: Sequence[int]) -> str:
        """By the number of channels."""
        return "BCEWithLogitsLoss" if len(shape) == 4 and shape[1] == 1 else "CrossEntropyLoss"

    def pair(self, outputs: Any, y: Any, x: Any, loss: str) -> tuple[Any, Any]:
        """Pixels that count, as a table: (pixels, K) and (pixels,), or (pixels,) logits and floats."""
        counts = y.reshape(-1) != IGNORED
        table = outputs.movedim(1, -1).reshape(-1, outputs.shape[1])[counts]
        labels = y.reshape(-1)[counts]
        return (table[:, 0], labels.to(outputs.dtype)) if loss == "BCEWithLogitsLoss" else (table, labels)

    def scorer(self, contract: Contract) -> Scorer:
        """Intersection over union, the mean over classes that occur, and the share of pixels that are right."""
        return _Scorer(len(contract.classes))

    def agreement(self, reference: NDArray[Any], candidate: NDArray[Any]) -> float | None:
        """The share of pixels for which both choose the same class."""
        if reference.ndim != 4 or reference.shape != candidate.shape:
            return None
        return float((chosen(reference) == chosen(candidate)).mean())

    def meaning(self, contract: Contract) -> str:
        """Scores by class and pixel."""
        return "one score per class and pixel, (N, classes, height, width), classes in the order of `input.json`"

    def says(self, output: NDArray[Any], x: NDArray[Any], contract: Contract) -> str:
        """Which share of the pixels is of which class, the largest first."""
        return _shares(chosen(output[None])[0], contract)

    def truth_says(self, truth: NDArray[Any], contract: Contract) -> str:
        """As `says`; pixels that do not count are left out."""
        return _shares(truth[truth != IGNORED], contract)

    def answer(self, outputs: str, contract: str) -> str:
        """A class for each pixel."""
        return f"{outputs}.argmax(axis=1) if {outputs}.shape[1] > 1 else {outputs}[:, 0] > 0"


def _shares(pixels: NDArray[Any], contract: Contract, most: int = 3) -> str:
    import numpy as np

    known, counts = np.unique(pixels, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return ", ".join(f"{class_name(contract.classes, int(known[at]))} {counts[at] / pixels.size:.0%}" for at in order)


TASK = Segmentation
