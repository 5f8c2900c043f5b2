"""The model with its layers as the module computes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recast.stages.parity.forms.compiled_form import CompiledForm
from recast.stages.targets.wasm.module import WasmModule

if TYPE_CHECKING:
    from recast.stages.compilers.onnx_c.compile import Sources


class WasmForm(CompiledForm):
    """Compiled to WebAssembly with SIMD, and run under wasmtime."""

    runs = "a module compiled anew with every tensor as an output, under wasmtime; its output: the emitted module"

    def build(self, sources: Sources, scratch: Path) -> WasmModule:
        """The module, started."""
        from recast.stages.compilers.onnx_c.build import build_wasm

        outputs = {port.name: (port.dtype, port.shape) for port in sources.outputs}
        return WasmModule(
            build_wasm(sources, simd=True, scratch=scratch), [port.name for port in sources.inputs], outputs
        )
