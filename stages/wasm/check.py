"""Compare a built module with onnxruntime before it may be called emitted."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import onnx_files
from stages.base import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEED = 0


@dataclass(frozen=True)
class Checker:
    """What a module must compute: onnxruntime's scores for samples and for random input."""

    model: onnx_files.Model
    """with a fixed batch"""
    x: NDArray[np.float32]
    expected: NDArray[np.float32]
    limit: float
    """largest error of a score, relative to the largest score"""

    def error(
        self, predict: Callable[[NDArray[np.float32]], NDArray[np.float32]], file: str, first_layer: Callable[[], str]
    ) -> float:
        """The largest error of `predict`, which is what `file` computes for x, relative to the largest score.

        Raises StageError above the limit, or if a score is NaN; it says what `first_layer` found.
        """
        import numpy as np

        made = onnx_files.only_output(self.model, "the model").name
        actual = predict(self.x)
        if actual.shape != self.expected.shape:
            raise StageError(
                f"{file} is wrong: its output {made} has shape {actual.shape}, and onnxruntime's {self.expected.shape}"
                + first_layer(),
                "report it with the model",
            )
        off = np.abs(actual - self.expected)
        error = float(off.max()) / (float(np.abs(self.expected).max()) or 1.0)
        if not error <= self.limit:  # NaN is not below the limit either
            worst = int(np.nan_to_num(off, nan=np.inf).reshape(len(off), -1).max(axis=1).argmax())
            raise StageError(
                f"{file} is wrong: its output {made} differs from onnxruntime's by {error:.3g} of the largest score, "
                f"above emit.max_error {self.limit:g} (worst at check sample {worst}){first_layer()}",
                "report it with the model; raise emit.max_error only for an error of rounding",
            )
        return error


def checker(model: onnx_files.Model, samples: NDArray[np.float32], random: int, limit: float, threads: int) -> Checker:
    """Of normalised samples (N, *shape) and `random` more, normal with the samples' mean and deviation."""
    import numpy as np

    noise = np.random.default_rng(SEED).normal(samples.mean(), samples.std() + 1e-6, (random, *samples.shape[1:]))
    x = np.concatenate([samples, noise.astype(np.float32)])
    expected = onnx_files.Session(model, threads, "the model").run(x)
    if not np.isfinite(expected).all():
        raise StageError("the model gives NaN or infinity on the check samples", "check the model's weights")
    return Checker(model, x, expected, limit)


def first_wrong_layer(model: onnx_files.Model, x: NDArray[Any], limit: float, threads: int, scratch: Path) -> str:
    """; and which tensor is the first that our compiler's module computes otherwise than onnxruntime, as a phrase."""
    import numpy as np

    from stages.onnx_form import OnnxForm
    from stages.wasm.forms import WasmForm

    try:
        reference = OnnxForm(model, threads, "the model").values(x)
        found = WasmForm(model, threads, "the module", scratch).values(x)
    except Exception as error:  # what is being explained must be said, whatever fails on the way
        traceback.print_exc()
        return f"; its layers cannot be compared: {onnx_files.first_line(error)}"
    for name, value in found.items():
        if name in reference and value.shape != reference[name].shape:
            return (
                f"; the first tensor that differs is {name}: {value.shape}, and onnxruntime's {reference[name].shape}"
            )
        if name not in reference:
            continue  # what one of the two does not show is no evidence
        scale = float(np.abs(reference[name]).max()) or 1.0
        if not float(np.abs(value - reference[name]).max()) / scale <= limit:
            return f"; the first tensor that differs is {name}"
    return "; compiled to show every tensor, it computes all of them right"
