"""Objects in an image: outputs are the tensors of a detection head, whatever its layout.

What a box is, differs from head to head: the loss is a function of the project's own, `train.loss: module:function`.
The outputs are compared with the float model's; a metric of one's own says how good the boxes are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.tasks.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract


class Detection(Task):
    """Labels (N, ...), numbers in whatever form the project's own loss and metric read."""

    name = "detection"
    needs_truth = False

    def truth(self, y: NDArray[Any] | None, what: str) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
        """Numbers, of one shape for every sample: fill up with rows that the loss leaves out."""
        if y is not None and y.dtype.kind not in "iuf":
            raise StageError(f"{what}: y has dtype {y.dtype}", "give numbers of one shape for every sample")
        return y, ()

    def meaning(self, contract: Contract) -> str:
        """As the head has it."""
        return "the tensor of the detection head"


TASK = Detection
