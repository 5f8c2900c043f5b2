"""A WebAssembly module as it was built: what it imports, and what it computes under wasmtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stages import onnx_files
from stages.base import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class WasmModule:
    """An instance with named inputs and outputs of fixed shapes, in the order of their indices."""

    def __init__(self, content: bytes, inputs: Sequence[str], outputs: Mapping[str, tuple[Any, tuple[int, ...]]]) -> None:
        """`outputs`: name -> dtype and shape. StageError for a module that is invalid or imports anything."""
        import wasmtime

        from stages.wasm.clients.model import Instance

        self._inputs, self._outputs = list(inputs), dict(outputs)
        try:
            self._instance = Instance(content)
        except wasmtime.WasmtimeError as error:
            raise StageError(f"the WebAssembly module cannot be started: {onnx_files.first_line(error)}") from error

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output for inputs of the module's own shapes; StageError for a trap."""
        import wasmtime

        try:
            for index, name in enumerate(self._inputs):
                value = feeds[name]
                self._instance.view("input", index, value.dtype, value.shape)[...] = value
            self._instance.run()
            return {
                name: self._instance.view("output", index, dtype, shape).copy()
                for index, (name, (dtype, shape)) in enumerate(self._outputs.items())
            }
        except (wasmtime.WasmtimeError, RuntimeError) as error:
            raise StageError(f"the WebAssembly module stops: {onnx_files.first_line(error)}") from error


def run_batches(module: WasmModule, name: str, x: NDArray[np.float32], batch: int) -> dict[str, NDArray[Any]]:
    """Every output for samples (N, *shape), `batch` at once, along the first axis."""
    import numpy as np

    parts = [(module.run({name: part}), count) for part, count in onnx_files.split(x, batch, batch)]
    return {key: np.concatenate([made[key][:count] for made, count in parts]) for key in parts[0][0]}
