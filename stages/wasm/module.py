"""A WebAssembly module as it was built: what it imports, and what it computes under wasmtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stages import onnx_files
from stages.base import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class WasmModule:
    """An instance with named inputs and outputs of fixed shapes, in the order of their indices."""

    def __init__(
        self, content: bytes, inputs: Sequence[str], outputs: Mapping[str, tuple[Any, tuple[int, ...]]]
    ) -> None:
        """`outputs`: name -> dtype and shape. StageError for a module that is invalid or imports anything."""
        import wasmtime

        from stages.wasm.clients.model import Instance

        self._inputs, self._outputs = list(inputs), dict(outputs)
        try:
            self._instance = Instance(content)
        except (wasmtime.WasmtimeError, RuntimeError) as error:
            raise StageError(
                f"the WebAssembly module cannot be started: {onnx_files.first_line(error)}", "report it with the model"
            ) from error

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
            raise StageError(
                f"the WebAssembly module stops: {onnx_files.first_line(error)}", "report it with the model"
            ) from error


def predictor(content: bytes, model: onnx_files.Model) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Normalised samples (n, *shape) -> the output of the module that `content` is, for a model with a fixed batch."""
    import numpy as np

    taken, made = onnx_files.only_input(model, "the model"), onnx_files.only_output(model, "the model")
    shape = tuple(length or 0 for length in made.shape)
    module = WasmModule(content, [taken.name], {made.name: ("float32", shape)})

    def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
        batches = onnx_files.split(x, 1, taken.shape[0])
        return np.concatenate([module.run({taken.name: part})[made.name][:count] for part, count in batches])

    return predict
