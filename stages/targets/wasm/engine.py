"""Turn a model into modules: by our own compiler, or by emx-onnx-cgen for what that does not know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recast.stages.base import StageError, progress
from recast.stages.common.onnx_models import onnx_files

Engine = Literal["auto", "native", "emx"]


@dataclass(frozen=True)
class Built:
    """Two modules of one model, and what is to be said of them."""

    simd: bytes
    plain: bytes
    report: dict[str, Any]
    """engine, and why it is not our own; for our own, what its compiler reports"""


def build(model: onnx_files.Model, engine: Engine, batch: int, scratch: Path) -> Built:
    """The modules of a model with a fixed batch.

    `auto` takes emx-onnx-cgen only for a model that our compiler does not know. Raises StageError, naming node,
    operator and opset, if no engine that may be used can compile the model.
    """
    if engine == "emx":
        return _emx(model, "emit.engine is emx", scratch)
    from recast.stages.compilers.onnx_c.options import Unsupported

    try:
        return native(model, batch, scratch)
    except Unsupported as error:
        if engine == "native":
            raise
        why = error.message.partition("; the operators it knows")[0]
        progress(why)
        try:
            return _emx(model, why, scratch)
        except StageError as also:
            raise StageError(f"{error.message}; and {also.message}", *error.remedies) from also


def native(model: onnx_files.Model, batch: int, scratch: Path) -> Built:
    from recast.stages.compilers.onnx_c.build import build_wasm
    from recast.stages.compilers.onnx_c.compile import generate
    from recast.stages.compilers.onnx_c.options import Options

    progress("generate C")
    sources = generate(model, Options(batch=batch))
    progress("build with SIMD")
    simd = build_wasm(sources, simd=True, scratch=scratch)
    progress("build without SIMD")
    plain = build_wasm(sources, simd=False, scratch=scratch)
    return Built(simd, plain, {"engine": "native", **sources.report})


def _emx(model: onnx_files.Model, why: str, scratch: Path) -> Built:
    from recast.stages.targets.wasm import emx_engine

    module = emx_engine.build(model, scratch)
    return Built(module, module, {"engine": f"emx-onnx-cgen {emx_engine.VERSION}", "reason": why})
