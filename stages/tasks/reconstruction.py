"""An autoencoder: outputs (N, *shape) are the input as the model makes it again; what it makes badly is an anomaly.

The score of a sample is the mean square error over its values. Labels are optional: 0 is normal, 1 an anomaly; a model
is trained on normal samples alone.
"""

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

SCORES = Plot("anomaly_scores.csv", x="sample", y=("score",), template="scatter", title="Scores of the emitted model")


class ReconstructionOptions(NoOptions):
    """Which labels mean what."""

    anomalies: tuple[int, ...] = Field(
        default=(1,), min_length=1, description="labels of samples that count as anomalies; all others are normal"
    )


class _Scorer(Scorer):
    def __init__(self) -> None:
        self._scores: list[NDArray[Any]] = []
        self._true: list[NDArray[Any]] = []

    def update(self, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any]) -> None:
        self._scores.append(anomaly_scores(outputs, x))
        if truth is not None:
            self._true.append(truth == 1)

    def metrics(self) -> dict[str, float]:
        import numpy as np

        if not self._scores:
            return {}
        scores = np.concatenate(self._scores)
        true = np.concatenate(self._true) if self._true else np.zeros(len(scores), bool)
        normal = scores[~true] if not true.all() else scores
        area = measures.auc(scores, true)
        return {**({"auc": area} if area is not None else {}), "mse": float(normal.mean())}


class Reconstruction(Task):
    """Labels (N,), 0 or 1, or none."""

    name = "reconstruction"
    wanted = "its input again (N, *shape)"
    mend_outputs = "give the model outputs of the shape of its input"
    metrics = (Metric("auc", is_share=True), Metric("mse", "lower"))
    losses = ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")
    needs_truth = False
    plots = (SCORES,)
    Options = ReconstructionOptions

    def truth(self, y: NDArray[Any] | None, what: str) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
        """1 for anomalies, 0 for the rest."""
        import numpy as np

        labels = measures.optional_labels(y, what)
        if labels is None:
            return None, ()
        kept = np.isin(labels, self.options.anomalies).astype(np.int64)
        if kept.all():
            raise StageError(f"{what}: all samples are anomalies", "give normal ones", "set task.anomalies")
        return kept, ("normal", "anomaly")

    def strata(self, y: NDArray[Any] | None) -> NDArray[Any] | None:
        """Normal and not."""
        return y

    def trained_on(self, y: NDArray[Any] | None) -> NDArray[Any] | None:
        """The normal ones."""
        return None if y is None else y == 0

    def misfit(self, shape: Sequence[int], contract: Contract, truth: Sequence[int]) -> str:
        """As many values as a sample has."""
        import math

        if len(contract.inputs) > 1:
            return f"a reconstruction is of one input, and the model takes {', '.join(contract.names)}"
        values, wanted = math.prod(shape[1:]), math.prod(contract.shape)
        return (
            "" if values == wanted else f"a reconstruction needs the shape of its input, {(shape[0], *contract.shape)}"
        )

    def pair(self, outputs: Any, y: Any, x: Any, loss: str) -> tuple[Any, Any]:
        """The input is what the output should be."""
        return outputs.reshape(x.shape), x

    def scorer(self, contract: Contract) -> Scorer:
        """Mean square error over normal samples; where there are labels the area under the ROC curve."""
        return _Scorer()

    def write(
        self, out: Path, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any], contract: Contract
    ) -> None:
        """anomaly_scores.csv: the score of each sample, and its kind where labels tell."""
        from recast.stages.common.dataset import parts_of

        kinds = [""] * len(x) if truth is None else [contract.classes[label] for label in truth]
        with (out / SCORES.file).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("sample", "score", "kind"))
            for part in parts_of(x):
                scores = zip(range(part.start, part.stop), anomaly_scores(outputs[part], x[part]), strict=True)
                rows.writerows((number, f"{score:.6g}", kinds[number]) for number, score in scores)

    def meaning(self, contract: Contract) -> str:
        """The input again."""
        return "the input as the model makes it again; the mean square error between the two is the anomaly score"

    def says(self, output: NDArray[Any], x: NDArray[Any], contract: Contract) -> str:
        """The anomaly score."""
        return f"score {anomaly_scores(output[None], x[None])[0]:.4g}"

    def truth_says(self, truth: NDArray[Any], contract: Contract) -> str:
        """Normal or not."""
        return class_name(contract.classes, int(truth))


def anomaly_scores(outputs: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """Mean square error (N,) between outputs and x, (N, ...) each."""
    import numpy as np

    off = outputs.reshape(len(x), -1).astype(np.float64) - x.reshape(len(x), -1)
    scores: NDArray[Any] = np.square(off).mean(axis=1)
    return scores


TASK = Reconstruction
