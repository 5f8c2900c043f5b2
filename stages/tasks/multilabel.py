"""Any of K labels for each sample: outputs (N, K) are logits, above 0 for those that hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.tasks import measures
from recast.stages.tasks.binary import LogitScorer, same_sign
from recast.stages.tasks.task import Metric, Scorer, Task, class_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract


class Multilabel(Task):
    """Labels (N, K), 0 or 1."""

    name = "multilabel"
    wanted = "logits (N, labels)"
    mend_outputs = "give the model one output per label"
    metrics = (Metric("accuracy", is_share=True), Metric("f1", is_share=True), Metric("auc", is_share=True))
    losses = ("BCEWithLogitsLoss", "MultiLabelSoftMarginLoss")

    def truth(self, y: NDArray[Any] | None, what: str) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
        """A column of 0 and 1 for each label."""
        labels = measures.whole_numbers(y, what, "(N, labels)")
        if labels.ndim != 2:
            raise StageError(f"{what}: y has shape {labels.shape}", "give a column of 0 and 1 per label, (N, labels)")
        measures.of_zero_and_one(labels, what)
        return labels, tuple(str(label) for label in range(labels.shape[1]))

    def misfit(self, shape: Sequence[int], contract: Contract, truth: Sequence[int]) -> str:
        """A logit for each label."""
        labels = len(contract.classes)
        return "" if tuple(shape[1:]) == (labels,) else f"the data's {labels} labels need ({shape[0]}, {labels})"

    def pair(self, outputs: Any, y: Any, x: Any, loss: str) -> tuple[Any, Any]:
        """Labels as floats."""
        return outputs, y.to(outputs.dtype)

    def scorer(self, contract: Contract) -> Scorer:
        """The share of all labels that are right; F1 and area under the ROC curve, the mean over labels."""
        return LogitScorer()

    def agreement(self, reference: NDArray[Any], candidate: NDArray[Any]) -> float | None:
        """The share of all labels of which both say the same."""
        return same_sign(reference, candidate)

    def meaning(self, contract: Contract) -> str:
        """Logits."""
        return "one logit per label, above 0 where it holds, in the order of `classes` in `input.json`"

    def says(self, output: NDArray[Any], x: NDArray[Any], contract: Contract) -> str:
        """The labels that hold."""
        return (
            ", ".join(class_name(contract.classes, index) for index in (output > 0).nonzero()[0].tolist()) or "no label"
        )

    def truth_says(self, truth: NDArray[Any], contract: Contract) -> str:
        """The labels that hold."""
        return self.says(truth, truth, contract)

    def answer(self, outputs: str, contract: str) -> str:
        """The labels that hold."""
        return f'[[name for name, logit in zip({contract}["classes"], row) if logit > 0] for row in {outputs}]'


TASK = Multilabel
