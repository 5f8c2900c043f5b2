"""Samples of the test split with what is true of them and what every target answered, the worst mistakes first."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common import dataset, samples
from recast.stages.parity import answers
from recast.stages.tasks import task as tasks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract, Input

LOOKED_AT = 5000
"""samples at most, the first, among which the worst are looked for"""
SHOWN = 24
"""samples at most"""
TALLEST = 96
"""pixels of a picture of a sample, which are none of it where it is larger"""
FLOAT = "float model"


@dataclass(frozen=True)
class Answer:
    """What one model said of a sample."""

    text: str
    right: bool | None
    """None where nothing is right or wrong of a single answer"""
    as_float: bool | None
    """whether the float model says the same; None of the float model itself"""
    value: float | None
    """the task's metric of this sample alone"""


@dataclass(frozen=True)
class Sample:
    """One sample of the test split."""

    number: int
    truth: str
    """empty if the data has no labels"""
    image: str
    """a PNG as a data URI; empty if it is no image"""
    values: str
    """the first values, of a sample that is no image"""
    stored: str
    """as it is stored, base64; empty where there are several inputs"""
    answers: Mapping[str, Answer] = field(default_factory=dict)


@dataclass(frozen=True)
class Samples:
    """Samples of one data set, and the models that answered, in the order of columns."""

    models: tuple[str, ...]
    metric: str
    """by which an answer is judged; empty if nothing is true of a sample"""
    of: int
    """from how many these were chosen"""
    samples: tuple[Sample, ...]


def gather(root: Path, targets: Sequence[Mapping[str, Any]]) -> Samples | None:
    """Of the targets of one recipe, facts as the runner gives them; None where no target has kept its answers.

    Samples that any target gets wrong come first, those most wrong before the others. Raises StageError for data that
    cannot be read.
    """
    import numpy as np

    outputs: dict[str, tuple[Any, Any]] = {}
    data: Path | None = None
    for target in targets:
        place = target["directories"].get("verified")
        if place is None or not (root / place / answers.FILE).is_file() or "data" not in target["directories"]:
            continue
        try:
            outputs[target["name"]] = answers.read(root / place)
        except (OSError, ValueError, KeyError) as error:
            raise StageError(f"cannot read {place}/{answers.FILE}: {error}", "run the recipe again") from error
        data = data or root / target["directories"]["data"]
    if data is None or not (data / dataset.CONTRACT).is_file():
        return None
    contract = dataset.read_contract(data)
    task = tasks.of(contract.task)
    stored, labels = dataset.read_samples(data, "test")
    count = min(LOOKED_AT, len(stored), *(len(one) for _, one in outputs.values()))
    stored, truth = stored[:count], None if labels is None else labels[:count]
    x = dataset.taken(contract, stored, "test")
    models = {FLOAT: next(iter(outputs.values()))[0][:count]}
    models |= {name: emitted[:count] for name, (_, emitted) in outputs.items()}
    judged = {name: task.judged(one) for name, one in models.items()}
    judge = _Judge(task, contract, truth, x)
    wrong = {name: judge.badness(one) for name, one in judged.items()}
    off = np.max([_apart(judged[FLOAT], one) for one in judged.values()], axis=0)
    badness = np.max([wrong[name] for name in judged if name != FLOAT] or [wrong[FLOAT]], axis=0)
    order = np.lexsort((np.arange(count), -off, -badness))[:SHOWN]
    shown = tuple(
        Sample(
            int(at),
            "" if truth is None else task.truth_says(truth[at], contract),
            *_picture(contract, stored, int(at)),
            {name: judge.answer(judged[name], judged[FLOAT] if name != FLOAT else None, int(at)) for name in judged},
        )
        for at in order
    )
    return Samples(tuple(models), judge.metric, count, shown)


class _Judge:
    """Judges the answer to a single sample by the task's own metric, where that can be told of one sample."""

    def __init__(self, task: tasks.Task, contract: Contract, truth: NDArray[Any] | None, x: Any) -> None:
        self._task, self._contract, self._truth, self._x = task, contract, truth, x
        self._known = [metric for metric in task.metrics if self._alone(metric.name)]
        self.metric = self._known[0].name if self._known else ""

    def _alone(self, metric: str) -> bool:
        """Whether the metric means something of one sample: an area under a curve takes many."""
        return metric not in ("auc", "f1", "r2")

    def value(self, outputs: NDArray[Any], at: int) -> float | None:
        if not self._known:
            return None
        scorer = self._task.scorer(self._contract)
        truth = None if self._truth is None else self._truth[at : at + 1]
        scorer.update(outputs[at : at + 1], truth, self._own_input(at))
        found = scorer.metrics().get(self.metric)
        return None if found is None else float(found)

    def _own_input(self, at: int) -> Any:
        return self._x[at : at + 1]

    def badness(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """How wrong each answer is, (n,): 0 where that is not known, more for worse."""
        import numpy as np

        if not self._known:
            return np.zeros(len(outputs))
        values = [self.value(outputs, at) for at in range(len(outputs))]
        sign = -1.0 if self._known[0].better == "higher" else 1.0
        return np.array([0.0 if value is None else sign * value for value in values])

    def answer(self, outputs: NDArray[Any], reference: NDArray[Any] | None, at: int) -> Answer:
        own = next(iter(samples.parts(self._own_input(at)).values()))[0]
        text = self._task.says(outputs[at], own, self._contract)
        # numbers are hardly ever the same to the last digit
        named = reference is not None and bool(self._contract.classes)
        same = None if reference is None or not named else text == self._task.says(reference[at], own, self._contract)
        value = self.value(outputs, at)
        share = bool(self._known) and self._known[0].is_share
        return Answer(text, None if value is None or not share else value >= 1, same, value)


def _apart(reference: NDArray[Any], candidate: NDArray[Any]) -> NDArray[Any]:
    """How far the outputs for each sample are from the reference's, relative to its size, (n,)."""
    import numpy as np

    rows = reference.reshape(len(reference), -1).astype(np.float64)
    other = candidate.reshape(len(rows), -1).astype(np.float64)
    size = np.linalg.norm(rows, axis=1)
    apart: NDArray[Any] = np.linalg.norm(other - rows, axis=1) / np.where(size > 0, size, 1.0)
    return apart


def _picture(contract: Contract, stored: Any, at: int) -> tuple[str, str, str]:
    """`image`, `values` and `stored` of a sample."""
    if len(contract.inputs) != 1:
        arrays = samples.parts(stored)
        return "", "; ".join(f"{name} {tasks.few_values(array[at], 3)}" for name, array in arrays.items()), ""
    array = stored[at]
    raw = base64.b64encode(array.tobytes()).decode("ascii")
    image = picture(contract.only, array)
    return image, "" if image else tasks.few_values(array, 6), raw


def picture(taken: Input, array: NDArray[Any]) -> str:
    """A sample (C, H, W) of one or three channels, as stored, as a PNG in a data URI; empty if it is no image."""
    import numpy as np
    from PIL import Image

    if array.ndim != 3 or array.shape[0] not in (1, 3) or min(array.shape[1:]) < 4:
        return ""
    values = array.astype(np.float64)
    low, high = (0.0, 255.0) if taken.stored_dtype == "uint8" else (float(values.min()), float(values.max()))
    shown = np.clip((values - low) / ((high - low) or 1.0) * 255, 0, 255).astype(np.uint8)
    made = Image.fromarray(shown[0] if len(shown) == 1 else shown.transpose(1, 2, 0))
    made.thumbnail((TALLEST, TALLEST))
    content = io.BytesIO()
    made.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
