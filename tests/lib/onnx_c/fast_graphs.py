"""Small ONNX models for the fast kernels, and their outputs by onnxruntime and by the compiled module."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from recast.stages.common.onnx_models import onnx_session
from recast.stages.compilers.onnx_c.build import build_native
from recast.stages.compilers.onnx_c.compile import Options, Sources, generate
from tests.lib.onnx_c.modules import Module, load

Array = NDArray[Any]
# SIMD is what browsers run; the kernels' own tests run the other two as well
VARIANTS = (
    "simd",
    pytest.param("nosimd", marks=pytest.mark.slow),
    pytest.param("native", marks=pytest.mark.slow),
)


def model(nodes: Sequence[Any], shape: Sequence[int], constants: dict[str, Array]) -> Any:
    """A model from input `x` of this shape to output `y`, of whatever shape the nodes give it."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(made)


def expected(made: Any, x: Array) -> Array:
    """What the graph means, by onnxruntime in one thread."""
    result: Array = onnx_session.start(made.SerializeToString(), 1).run(None, {"x": x})[0]
    return result


class Compiled:
    """Models compiled together, for each variant when it is first asked for."""

    def __init__(self, models: dict[str, Any], folder: Path) -> None:
        self.sources = {name: generate(made, Options(prefix=name)) for name, made in models.items()}
        self._folder = folder

    @cached_property
    def _simd(self) -> Module:
        return load(list(self.sources.values()), True, self._folder / "simd")

    @cached_property
    def _nosimd(self) -> Module:
        return load(list(self.sources.values()), False, self._folder / "nosimd")

    @cached_property
    def _native(self) -> ctypes.CDLL:
        folder = self._folder / "native"
        folder.mkdir()
        return ctypes.CDLL(str(build_native(list(self.sources.values()), folder)))

    def kernels(self, name: str) -> list[str]:
        """The kernels chosen for a model's nodes."""
        return [node["kernel"] for node in self.sources[name].report["nodes"]]

    def run(self, variant: str, name: str, x: Array) -> Array:
        """The output; the model runs twice, since what the first run leaves behind must not matter."""
        source = self.sources[name]
        if variant == "native":
            return self._run_native(source, x)
        module = self._simd if variant == "simd" else self._nosimd
        module.run(source, [np.ones_like(x)])
        return module.run(source, [x])[0]

    def _run_native(self, source: Sources, x: Array) -> Array:
        y = np.empty(source.outputs[0].shape, np.float32)
        for given in (np.ones_like(x), np.ascontiguousarray(x)):
            pointers = (ctypes.c_void_p(array.ctypes.data) for array in (given, y))
            getattr(self._native, f"{source.prefix}_run")(*pointers)
        return y
