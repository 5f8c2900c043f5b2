"""A WebAssembly module as it was built: what it imports, and what it computes under wasmtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stages import onnx_files
from stages.base import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.wasm.clients.model import Instance


class WasmModule:
    """An instance with named inputs and outputs of fixed shapes, in the order of their indices."""

    def __init__(
        self, content: bytes, inputs: Sequence[str], outputs: Mapping[str, tuple[Any, tuple[int, ...]]]
    ) -> None:
        """`outputs`: name -> dtype and shape. StageError for a module that is invalid or imports anything."""
        self._inputs, self._outputs = list(inputs), dict(outputs)
        self._instance = start(content)

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
    """Normalised samples (n, *shape) -> the output of the module that `content` is, for a model with a fixed batch.

    Every batch is run twice: see `run_twice`.
    """
    import numpy as np

    taken, made = onnx_files.only_input(model, "the model"), onnx_files.only_output(model, "the model")
    shape = tuple(length or 0 for length in made.shape)
    instance = start(content)

    def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
        batches = onnx_files.split(x, 1, taken.shape[0])
        return np.concatenate([run_twice(instance, part, shape)[:count] for part, count in batches])

    return predict


def run_twice(instance: Instance, x: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """One batch, written into the module once -> its output, float32 of this shape.

    Raises StageError for a module that traps, that overwrites its input, or whose second run on it gives other scores.
    """
    import numpy as np
    import wasmtime

    remedy = "report it with the model: it is a fault of the compiler"
    found = []
    try:
        instance.view("input", 0, np.float32, x.shape)[...] = x
        for _ in range(2):
            instance.run()
            found.append(instance.view("output", 0, np.float32, shape).copy())
            if instance.view("input", 0, np.float32, x.shape).tobytes() != x.tobytes():
                raise StageError("the WebAssembly module writes to the input it is given", remedy)
    except (wasmtime.WasmtimeError, RuntimeError) as error:
        raise StageError(f"the WebAssembly module stops: {onnx_files.first_line(error)}", remedy) from error
    if found[0].tobytes() != found[1].tobytes():
        raise StageError("the WebAssembly module gives other scores for the same input when it runs again", remedy)
    return found[0]


def start(content: bytes) -> Instance:
    """The module, started; StageError for one that is invalid or imports anything."""
    import wasmtime

    from stages.wasm.clients.model import Instance

    try:
        return Instance(content)
    except (wasmtime.WasmtimeError, RuntimeError) as error:
        raise StageError(
            f"the WebAssembly module cannot be started: {onnx_files.first_line(error)}", "report it with the model"
        ) from error
