"""K numbers for each sample: outputs (N, K)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import Plot, StageError
from recast.stages.tasks.task import Metric, Scorer, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract

PREDICTED = Plot("predicted.csv", x="actual", y=("predicted",), template="scatter", title="Values by the emitted model")
AGREES = 0.05
"""of the spread of the float model's values: two that lie no further apart agree"""


class _Scorer(Scorer):
    def __init__(self) -> None:
        self._made: list[NDArray[Any]] = []
        self._true: list[NDArray[Any]] = []

    def update(self, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any]) -> None:
        import numpy as np

        if truth is not None:
            self._made.append(outputs.reshape(len(outputs), -1).astype(np.float64))
            self._true.append(truth.reshape(len(truth), -1).astype(np.float64))

    def metrics(self) -> dict[str, float]:
        import numpy as np

        if not self._true:
            return {}
        made, true = np.concatenate(self._made), np.concatenate(self._true)
        off = made - true
        found = {"mae": float(np.abs(off).mean()), "rmse": float(np.sqrt(np.square(off).mean()))}
        spread = np.square(true - true.mean(0)).sum(0)
        # of a value that never changes nothing can be explained
        return {**found, "r2": float((1 - np.square(off).sum(0) / spread).mean())} if (spread > 0).all() else found


class Regression(Task):
    """Labels (N,) or (N, K), numbers."""

    name = "regression"
    wanted = "values (N, K)"
    mend_outputs = "give the model one output per value"
    metrics = (Metric("mae", "lower"), Metric("rmse", "lower"), Metric("r2"))
    losses = ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")
    plots = (PREDICTED,)

    def truth(self, y: NDArray[Any] | None, what: str) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
        """Finite numbers, float32 (N, K)."""
        import numpy as np

        if y is None:
            raise StageError(f"{what} holds no labels", "give y, numbers (N,) or (N, K)", "set task to none")
        if y.dtype.kind not in "iuf" or y.ndim not in (1, 2):
            raise StageError(f"{what}: y has dtype {y.dtype} and shape {y.shape}", "give numbers, (N,) or (N, K)")
        kept = y.astype(np.float32).reshape(len(y), -1)
        finite = np.isfinite(kept).all(1)
        if not finite.all():
            raise StageError(
                f"{what}: y holds NaN or infinity, first in sample {int(np.argmin(finite))}",
                "mend or drop those samples",
            )
        return kept, ()

    def misfit(self, shape: Sequence[int], contract: Contract, truth: Sequence[int]) -> str:
        """As many numbers as a label has."""
        wanted = tuple(truth)
        fits = tuple(shape[1:]) == wanted or (wanted == (1,) and tuple(shape[1:]) == ())
        return "" if fits else f"labels of {wanted[0]} numbers need ({shape[0]}, {wanted[0]})"

    def pair(self, outputs: Any, y: Any, x: Any, loss: str) -> tuple[Any, Any]:
        """Both of one shape: a loss of PyTorch would spread (N,) over (N, 1) to (N, N) without a word."""
        return outputs.reshape(y.shape), y

    def scorer(self, contract: Contract) -> Scorer:
        """Mean absolute error, root mean square error, and R², the mean over values."""
        return _Scorer()

    def agreement(self, reference: NDArray[Any], candidate: NDArray[Any]) -> float | None:
        """The share of values within a twentieth of the spread, largest less smallest, of the reference's."""
        import numpy as np

        if reference.shape != candidate.shape:
            return None
        off = np.abs(candidate.astype(np.float64) - reference)
        return float((off <= AGREES * (np.max(reference, axis=0) - np.min(reference, axis=0))).mean())

    def write(
        self, out: Path, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any], contract: Contract
    ) -> None:
        """predicted.csv: a row for each value of each sample."""
        if truth is None:
            return
        with (out / PREDICTED.file).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("actual", "predicted"))
            pairs = zip(truth.reshape(-1).tolist(), outputs.reshape(-1).tolist(), strict=True)
            rows.writerows((f"{actual:.6g}", f"{predicted:.6g}") for actual, predicted in pairs)

    def meaning(self, contract: Contract) -> str:
        """The numbers."""
        return "the predicted values"


TASK = Regression
