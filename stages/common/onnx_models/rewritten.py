"""A graph that we rewrote must be valid in its own operator set, and compute what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 1e-4
"""of a score, relative to the largest one (or to 1 if that is less): sums may be taken in another order"""


def check(
    before: onnx_files.Model,
    after: onnx_files.Model,
    x: NDArray[Any],
    what: str,
    threads: int,
    taken: NDArray[Any] | None = None,
) -> None:
    """Compare both on samples x (N, *shape); `taken`: what `after` takes in their place, if that is something else.

    Raises StageError if `after` is no valid ONNX, if onnxruntime cannot run it, or if its scores differ.
    """
    import numpy as np

    onnx_files.check(after, what)
    expected = onnx_files.Session(before, threads).run(x)
    actual = onnx_files.Session(after, threads, what).run(x if taken is None else taken)
    if actual.shape == expected.shape:
        error = float(np.abs(actual - expected).max(initial=0.0))
        if error <= TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0))):
            return
        found = f"a score differs by {error:.3g}"
    else:
        found = f"its scores have shape {actual.shape}, not {expected.shape}"
    raise StageError(f"{what} computes something else: {found}", "this is a fault of Recast: report it with the model")
