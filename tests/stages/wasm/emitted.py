"""Emits small models for the tests of the wasm target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stages import onnx_files
from stages.wasm import calibrate, emit, quantize
from tests.stages.onnx_models import CONTRACT, Workplace, cnn, initializer, write_data, write_export
from tests.stages.onnx_models import model as onnx_model

ROOT = Path(__file__).resolve().parents[3]
FILES = {"clients": ROOT / "stages/wasm/clients", "kernels": ROOT / "stages/wasm/compiler/kernels"}
PATHS = {"clients": "stages/wasm/clients", "kernels": "stages/wasm/compiler/kernels"}


def workplace(root: Path, model: Any = None) -> Workplace:
    """data, export and simplify of a model over the quadrants."""
    model = cnn() if model is None else model
    write_data(root / "data")
    write_export(root / "export", model, root / "data")
    (root / "simplify").mkdir()
    onnx_files.write_model(model, root / "simplify/model.onnx")
    return Workplace(root)


def calibrated(root: Path, model: Any = None, scheme: str = "float32") -> Workplace:
    work = workplace(root, model)
    work.run(quantize.STAGE, "quantize", scheme=scheme)
    work.run(calibrate.STAGE, "calibrate")
    return work


def emitted(root: Path, model: Any = None, scheme: str = "float32", **params: Any) -> Workplace:
    work = calibrated(root, model, scheme)
    work.run(emit.STAGE, "emit", FILES, **PATHS, **params)
    return work


def with_node(node: Any, weights: list[Any], opset: int = 18) -> Any:
    """image -> Flatten -> `node` (from "flat" to "middle", 64 values) -> Gemm -> scores."""
    import onnx

    flatten = onnx.helper.make_node("Flatten", ["image"], ["flat"], "node_flatten")
    head = np.random.default_rng(0).normal(0, 0.1, (64, 4))
    gemm = onnx.helper.make_node("Gemm", ["middle", "head"], ["scores"], "node_head")
    return onnx_model([flatten, node, gemm], [*weights, initializer("head", head)], opset=opset)


def lstm(batch: int | str = "batch") -> Any:
    """image (8 rows of 8) -> a bidirectional LSTM over the rows -> scores from all its steps."""
    import onnx

    node, random = onnx.helper.make_node, np.random.default_rng(0)
    weights = {"w": (2, 8, 8), "r": (2, 8, 2), "b": (2, 16), "head": (32, 4)}
    nodes = [
        node("Reshape", ["image", "rows"], ["x"], "node_rows"),
        node("Transpose", ["x"], ["time"], "node_time", perm=[1, 0, 2]),
        node("LSTM", ["time", "w", "r", "b"], ["steps"], "node_lstm", hidden_size=2, direction="bidirectional"),
        node("Transpose", ["steps"], ["first"], "node_batch", perm=[2, 0, 1, 3]),
        node("Flatten", ["first"], ["flat"], "node_flatten"),
        node("Gemm", ["flat", "head"], ["scores"], "node_head"),
    ]
    held = [initializer(name, random.normal(0, 1, shape)) for name, shape in weights.items()]
    return onnx_model(nodes, [*held, initializer("rows", [-1, 8, 8], np.int64)], (batch, 1, 8, 8))


def stored(count: int = 6) -> Any:
    """Quadrant images, uint8 (count, 1, 8, 8)."""
    from tests.stages.onnx_models import images

    return images(count, 7)[0]


def expected(model: Any, samples: Any) -> Any:
    """onnxruntime's scores for stored samples."""
    return onnx_files.Session(model, threads=1).run(CONTRACT.normalise(samples))
