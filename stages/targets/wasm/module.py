"""A WebAssembly module as it was built: what it imports, and what it computes under wasmtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from recast.stages.base import StageError
from recast.stages.common import samples
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.samples import Taken

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.targets.wasm.clients.model import Instance

Outputs: TypeAlias = Mapping[str, tuple[Any, tuple[int, ...]]]
"""name -> dtype and shape, the batch in front"""


class WasmModule:
    """An instance with named inputs and outputs of fixed shapes, in the order of their indices."""

    def __init__(self, content: bytes, inputs: Sequence[str], outputs: Outputs) -> None:
        """StageError for a module that is invalid or imports anything."""
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


def predictor(content: bytes, model: onnx_files.Model) -> Callable[[Taken], Any]:
    """Samples as the model takes them (n, *shape) -> what the module `content` gives, for a model with a fixed batch.

    Of several inputs or outputs they are Samples. Every batch is run twice: see `run_twice`.
    """
    ports = onnx_files.inputs_of(model)
    made = outputs_of(model)
    instance = start(content)

    def predict(x: Taken) -> Any:
        batches = onnx_files.split(x, 1, ports[0].shape[0])
        return samples.joined([
            run_twice(instance, samples.named(part, [port.name for port in ports]), made)[:count]
            for part, count in batches
        ])  # fmt: skip

    return predict


def outputs_of(model: onnx_files.Model) -> Outputs:
    """What a module of the model, whose batch is fixed, gives, in the order of its outputs."""
    return {
        port.name: (onnx_files.dtype_of(port), tuple(length or 0 for length in port.shape))
        for port in onnx_files.outputs_of(model)
    }


def run_twice(instance: Instance, feeds: Mapping[str, NDArray[Any]], outputs: Outputs) -> Any:
    """One batch of each input, in the module's order, written into it once -> its output, or Samples of several.

    Raises StageError for a module that traps, that overwrites an input, or whose second run on it gives other scores.
    """
    import wasmtime

    remedy = "report it with the model: it is a fault of the compiler"
    found = []

    def port(index: int, value: NDArray[Any]) -> NDArray[Any]:
        return instance.view("input", index, value.dtype, value.shape)

    try:
        for index, value in enumerate(feeds.values()):
            port(index, value)[...] = value
        for _ in range(2):
            instance.run()
            found.append({
                name: instance.view("output", index, dtype, shape).copy()
                for index, (name, (dtype, shape)) in enumerate(outputs.items())
            })  # fmt: skip
            if any(port(index, value).tobytes() != value.tobytes() for index, value in enumerate(feeds.values())):
                raise StageError("the WebAssembly module writes to the input it is given", remedy)
    except (wasmtime.WasmtimeError, RuntimeError) as error:
        raise StageError(f"the WebAssembly module stops: {onnx_files.first_line(error)}", remedy) from error
    first, second = ({name: value.tobytes() for name, value in one.items()} for one in found)
    if first != second:
        raise StageError("the WebAssembly module gives other scores for the same input when it runs again", remedy)
    return samples.of(found[0])


def start(content: bytes) -> Instance:
    """The module, started; StageError for one that is invalid or imports anything."""
    import wasmtime

    from recast.stages.targets.wasm.clients.model import Instance

    try:
        return Instance(content)
    except (wasmtime.WasmtimeError, RuntimeError) as error:
        raise StageError(
            f"the WebAssembly module cannot be started: {onnx_files.first_line(error)}", "report it with the model"
        ) from error
