"""What scores mean: names of classes with probabilities, for the tasks whose outputs have any."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST = 5
"""classes that are named of one sample, the likeliest first"""
_SUM = 0.02
"""by how much probabilities that a model gives itself may miss 1: int8 rounds each"""


def named(model: Mapping[str, Any], scores: NDArray[Any]) -> list[list[dict[str, Any]]] | None:
    """Of each sample the classes with their probabilities; None where a task, or the shape of its scores, has none.

    scores (n, K). A classifier's are made probabilities by softmax, unless they are such already: none below 0, and
    each row's sum is 1. Those of independent labels, and the one of a binary model, by the logistic function. A model
    that was trained to something else than probabilities gives numbers of that form, and no more than that.
    """
    made = _MADE.get(str(model.get("task", {}).get("name")))
    if made is None or scores.ndim != 2 or not len(scores):
        return None
    classes = list(model.get("classes") or ())
    shares, classes = made(scores, classes)
    if shares is None:
        return None
    return [_best(row, classes) for row in shares]


def _best(row: NDArray[Any], classes: Sequence[str]) -> list[dict[str, Any]]:
    order = sorted(range(len(row)), key=lambda index: (-row[index], index))[:MOST]
    # a model may have more outputs than the data has classes
    return [
        {"class": classes[index] if index < len(classes) else str(index), "probability": round(float(row[index]), 6)}
        for index in order
    ]


Made = tuple["NDArray[np.float64] | None", list[str]]


def _one_of(scores: NDArray[Any], classes: list[str]) -> Made:
    import numpy as np

    if (scores >= 0).all() and (abs(scores.sum(1) - 1) < _SUM).all():
        return scores.astype(np.float64), classes
    # less the largest, as exp would overflow
    powers = np.exp(scores.astype(np.float64) - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True), classes


def _each(scores: NDArray[Any], classes: list[str]) -> Made:
    return _logistic(scores), classes


def _yes_or_no(scores: NDArray[Any], classes: list[str]) -> Made:
    import numpy as np

    if scores.shape[1] != 1:
        return None, classes
    yes = _logistic(scores)
    return np.concatenate([1 - yes, yes], 1), classes or ["0", "1"]


def _logistic(scores: NDArray[Any]) -> NDArray[np.float64]:
    import numpy as np

    # beyond that it is 0 or 1 in float64, and exp would warn
    made: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(scores.astype(np.float64), -700, 700)))
    return made


_MADE: dict[str, Callable[[NDArray[Any], list[str]], Made]] = {
    "classification": _one_of,
    "multilabel": _each,
    "binary": _yes_or_no,
}
