"""Run the emitted folder under wasmtime, with the client it ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common import samples
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.samples import Taken

if TYPE_CHECKING:
    from recast.stages.targets.wasm.clients.model import Model


def start(emitted: Path, simd: bool = True) -> Model:
    """The client of the emitted folder, its module started; StageError if the folder is damaged."""
    import wasmtime

    from recast.stages.targets.wasm.clients.model import Model

    try:
        return Model(emitted, simd)
    except (OSError, ValueError, RuntimeError, wasmtime.WasmtimeError) as error:
        raise StageError(
            f"cannot start the emitted module: {onnx_files.first_line(error)}", "run emit again"
        ) from error


def run(model: Model, x: Taken) -> Any:
    """Samples as the model takes them (n, *shape) -> outputs (n, ...); StageError if it refuses them, or fails.

    Of several inputs or outputs they are Samples.
    """
    import wasmtime

    from recast.stages.targets.wasm.clients.model import InputError

    try:
        made = model.predict(x.arrays if isinstance(x, samples.Samples) else x)
        return samples.Samples(made) if isinstance(made, dict) else made
    except InputError as error:
        raise StageError(str(error), "give the model samples like those of its data") from error
    except (ValueError, RuntimeError, wasmtime.WasmtimeError) as error:
        raise StageError(f"the emitted module fails: {onnx_files.first_line(error)}", "run emit again") from error


def predictor(emitted: Path, threads: int, simd: bool = True) -> Callable[[Taken], Any]:
    """Samples as stored (n, *shape) -> outputs (n, ...), with the contract in the emitted folder.

    A module has no threads: `threads` is there for the shape that all targets share. One call at a time. Raises
    StageError if the folder is damaged.
    """
    model = start(emitted, simd)

    def predict(stored: Taken) -> Any:
        prepared = model.normalise(stored.arrays if isinstance(stored, samples.Samples) else stored)
        return run(model, samples.Samples(prepared) if isinstance(prepared, dict) else prepared)

    return predict
