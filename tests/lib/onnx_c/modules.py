"""Many small models compiled into one WebAssembly module and run under wasmtime: the compiler's start costs most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.compilers.onnx_c.build import build_wasm
from recast.stages.compilers.onnx_c.compile import Sources


@dataclass
class Module:
    """An instance of a module that holds the code of these sources."""

    store: Any
    exports: Any

    def run(self, source: Sources, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs of one of the models, in ONNX's order.

        AssertionError unless the inputs are untouched by the run, and another run on them gives the same outputs.
        """
        prefix = "" if source.prefix == "model" else f"{source.prefix}_"
        memory = self.exports["memory"]
        for index, (port, value) in enumerate(zip(source.inputs, inputs, strict=True)):
            assert value.shape == port.shape and str(value.dtype) == port.dtype
            memory.write(self.store, value.tobytes(), self.exports[f"{prefix}input"](self.store, index))
        first, again = (self._once(source, prefix, inputs) for _ in range(2))
        for one, two in zip(first, again, strict=True):
            assert one.tobytes() == two.tobytes(), f"{source.prefix}: a second run gives another output"
        return first

    def _once(self, source: Sources, prefix: str, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        memory = self.exports["memory"]
        assert self.exports[f"{prefix}run"](self.store) == 0
        for index, value in enumerate(inputs):
            start = self.exports[f"{prefix}input"](self.store, index)
            held = bytes(memory.read(self.store, start, start + value.nbytes))
            assert held == value.tobytes(), f"{source.prefix}: input {index} was overwritten"
        outputs = []
        for index, port in enumerate(source.outputs):
            start = self.exports[f"{prefix}output"](self.store, index)
            size = int(np.prod(port.shape, dtype=np.int64)) * np.dtype(port.dtype).itemsize
            content = memory.read(self.store, start, start + size)
            outputs.append(np.frombuffer(bytes(content), port.dtype).reshape(port.shape))
        return outputs


def load(sources: Sequence[Sources], simd: bool, scratch: Path) -> Module:
    """Compile sources of different prefixes into one module, which must have no imports, and instantiate it."""
    import wasmtime

    scratch.mkdir(parents=True, exist_ok=True)
    store = wasmtime.Store(wasmtime.Engine())
    module = wasmtime.Module(store.engine, build_wasm(sources, simd, scratch))
    assert not module.imports
    return Module(store, wasmtime.Instance(store, module, []).exports(store))
