"""Run the emitted folder under wasmtime, with the client it ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import onnx_files
from stages.base import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.wasm.clients.model import Model


def start(emitted: Path, simd: bool = True) -> Model:
    """The client of the emitted folder, its module started; StageError if the folder is damaged."""
    import wasmtime

    from stages.wasm.clients.model import Model

    try:
        return Model(emitted, simd)
    except (OSError, ValueError, RuntimeError, wasmtime.WasmtimeError) as error:
        raise StageError(
            f"cannot start the emitted module: {onnx_files.first_line(error)}", "run emit again"
        ) from error


def run(model: Model, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalised samples (n, *shape) -> scores (n, classes); StageError if the module fails."""
    import wasmtime

    try:
        return model.predict(x)
    except (ValueError, RuntimeError, wasmtime.WasmtimeError) as error:
        raise StageError(f"the emitted module fails: {onnx_files.first_line(error)}", "run emit again") from error


def predictor(emitted: Path, threads: int, simd: bool = True) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Samples as stored (n, *shape) -> scores (n, classes), with the contract in the emitted folder.

    A module has no threads: `threads` is there for the shape that all targets share. One call at a time. Raises
    StageError if the folder is damaged.
    """
    model = start(emitted, simd)

    def predict(stored: NDArray[Any]) -> NDArray[np.float32]:
        return run(model, model.normalise(stored))

    return predict
