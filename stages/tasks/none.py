"""No labels: outputs are compared with the float model's, and with nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.tasks.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Nothing(Task):
    """Outputs of any shape."""

    name = "none"
    needs_truth = False
    takes_any = True

    def truth(self, y: NDArray[Any] | None, what: str) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
        """Labels that are there are left out: nothing is measured by them."""
        return None, ()


TASK = Nothing
