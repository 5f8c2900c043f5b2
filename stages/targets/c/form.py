"""The model with its layers as the C computes them."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.parity.forms.compiled_form import CompiledForm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.compilers.onnx_c.compile import Sources


class NativeForm(CompiledForm):
    """Compiled for this machine, and run in this process."""

    runs = "C compiled anew with every tensor as an output, for this machine; its output: the emitted C"

    def build(self, sources: Sources, scratch: Path) -> NativeModel:
        """The library, loaded: it stays so when its file is gone."""
        from recast.stages.compilers.onnx_c.build import build_native

        return NativeModel(build_native(sources, scratch), sources)


class NativeModel:
    """A loaded library, called with arrays by name."""

    def __init__(self, library: Path, sources: Sources) -> None:
        self._function = getattr(ctypes.CDLL(str(library)), f"{sources.prefix}_run")
        self._function.restype = None
        self._inputs, self._outputs = sources.inputs, sources.outputs

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output for inputs of the model's own shapes."""
        import numpy as np

        taken = [np.array(feeds[port.name], port.dtype, order="C") for port in self._inputs]
        for array, port in zip(taken, self._inputs, strict=True):
            if array.shape != port.shape:
                raise ValueError(f"{port.name} has shape {array.shape}, not {port.shape}")
        made = {port.name: np.empty(port.shape, port.dtype) for port in self._outputs}
        self._function(*(ctypes.c_void_p(array.ctypes.data) for array in (*taken, *made.values())))
        return made
