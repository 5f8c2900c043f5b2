"""The forms of the model that `verify` compares, and one that shows its layers as our compiler computes them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import hops, onnx_files
from stages.base import Inputs, progress
from stages.onnx_form import Arrays, Given, OnnxForm
from stages.wasm.module import WasmModule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from stages.wasm.compiler.compile import Sources


def steps(inputs: Inputs, emitted: hops.Form, threads: int) -> list[hops.Step]:
    """The forms from the simplified model on: for int8 the prepared and the quantized one, then what was emitted."""
    scheme = json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8"))["scheme"]
    if scheme == "float32":
        return [hops.Step("emitted", emitted, "float")]
    prepared, quantized = (
        OnnxForm(onnx_files.read_model(inputs[stage] / "model.onnx", what), threads, what)
        for stage, what in (("quantize", "the prepared model"), ("calibrate", "the quantized model"))
    )
    return [
        hops.Step("prepared", prepared, "float"),
        hops.Step("quantized", quantized, "int8"),
        hops.Step("emitted", emitted, "same"),
    ]


class WasmForm(OnnxForm):
    """As `OnnxForm`, run as WebAssembly under wasmtime: compiled anew with every tensor that is looked at as an output.

    A tensor that is looked at is written out, so kernels that the emitted module fuses run one by one here.
    """

    runs = "a module compiled anew with every tensor as an output, under wasmtime; its output: the emitted module"

    def __init__(
        self,
        model: onnx_files.Model,
        threads: int,
        what: str,
        scratch: Path,
        prepare: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> None:
        """`scratch`: an existing folder. The other arguments are those of `OnnxForm`."""
        super().__init__(model, threads, what, prepare)
        self._scratch = scratch
        self._built: dict[tuple[bytes, ...], WasmModule] = {}

    def _run(self, model: onnx_files.Model, feeds: Given, names: Sequence[str]) -> Arrays:
        from stages.wasm.compiler.compile import Options, generate

        batch = onnx_files.only_input(self._model, self.what).shape[0] or 1
        sources = generate(_with_shapes(model, feeds, batch), Options(batch=batch))
        taken = {port.name: feeds[port.name] for port in sources.inputs}
        return self._batched(_AsSession(self._module(sources)), taken, names, batch)

    def _module(self, sources: Sources) -> WasmModule:
        """Built once: every tensor is asked for again, with other samples."""
        from stages.wasm.compiler.build import build_wasm

        key = (*sources.files.values(), *sources.weights.values())
        if key not in self._built:
            progress("build with every layer's output")
            with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
                content = build_wasm(sources, simd=True, scratch=Path(folder))
            outputs = {port.name: (port.dtype, port.shape) for port in sources.outputs}
            self._built[key] = WasmModule(content, [port.name for port in sources.inputs], outputs)
        return self._built[key]


class _AsSession:
    """A module, called as an onnxruntime session is."""

    def __init__(self, module: WasmModule) -> None:
        self._module = module

    def run(self, names: Sequence[str], feeds: Given) -> list[NDArray[Any]]:
        made = self._module.run(feeds)
        return [made[name] for name in names]


def _with_shapes(model: onnx_files.Model, feeds: Given, batch: int) -> onnx_files.Model:
    """A copy whose inputs have the shapes of what they are fed, `batch` samples at once; the rest follows."""
    import onnx

    shaped = type(model)()
    shaped.CopyFrom(model)
    names = [output.name for output in shaped.graph.output]
    inputs = [value for value in shaped.graph.input if value.name in feeds]
    weights = {weight.name for weight in shaped.graph.initializer}
    read = {name for node in shaped.graph.node for name in node.input} | set(names)
    kept = [
        onnx.helper.make_tensor_value_info(
            value.name,
            onnx.helper.np_dtype_to_tensor_dtype(feeds[value.name].dtype),
            [batch, *feeds[value.name].shape[1:]],
        )
        for value in inputs
        if value.name in read and value.name not in weights
    ]
    del shaped.graph.input[:], shaped.graph.output[:], shaped.graph.value_info[:]
    shaped.graph.input.extend(kept)
    shaped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return shaped
