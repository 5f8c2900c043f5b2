"""A vector for each sample, (N, D): by cosine, the nearest other sample is of the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.tasks import measures
from recast.stages.tasks.task import Metric, Scorer, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract

BLOCK = 512
"""samples whose similarities to all others are held at once"""


class _Scorer(Scorer):
    def __init__(self) -> None:
        self._vectors: list[NDArray[Any]] = []
        self._labels: list[NDArray[Any]] = []

    def update(self, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any]) -> None:
        if truth is not None:
            self._vectors.append(_unit(outputs))
            self._labels.append(truth)

    def metrics(self) -> dict[str, float]:
        import numpy as np

        if not self._labels or sum(map(len, self._labels)) < 2:
            return {}
        vectors, labels = np.concatenate(self._vectors), np.concatenate(self._labels)
        right = 0
        for start in range(0, len(vectors), BLOCK):
            near = vectors[start : start + BLOCK] @ vectors.T
            rows = np.arange(len(near))
            near[rows, start + rows] = -np.inf
            right += int((labels[near.argmax(axis=1)] == labels[start : start + BLOCK]).sum())
        return {"recall_at_1": right / len(vectors)}


class Embedding(Task):
    """Labels (N,), whose vectors belong together, or none."""

    name = "embedding"
    wanted = "vectors (N, D)"
    mend_outputs = "flatten the last layer to one vector each"
    metrics = (Metric("recall_at_1", is_share=True),)
    needs_truth = False

    def truth(self, y: NDArray[Any] | None, what: str) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
        """Whole numbers (N,)."""
        return measures.optional_labels(y, what), ()

    def misfit(self, shape: Sequence[int], contract: Contract, truth: Sequence[int]) -> str:
        """A vector."""
        return "" if len(shape) == 2 else f"an embedding is a vector each, ({shape[0] if shape else 2}, D)"

    def scorer(self, contract: Contract) -> Scorer:
        """Recall at 1: the share of samples whose nearest other, by cosine, bears the same label."""
        return _Scorer()

    def agreement(self, reference: NDArray[Any], candidate: NDArray[Any]) -> float | None:
        """The share of vectors that point the same way: a cosine of 0.99 or more."""
        if reference.shape != candidate.shape:
            return None
        return float(((_unit(reference) * _unit(candidate)).sum(axis=1) >= 0.99).mean())

    def meaning(self, contract: Contract) -> str:
        """A vector."""
        return "a vector; the cosine between two tells how alike their samples are"


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    flat = vectors.reshape(len(vectors), -1).astype(np.float64)
    units: NDArray[Any] = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return units


TASK = Embedding
