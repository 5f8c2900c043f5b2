"""Emits small models for the tests of the wasm target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.wasm import calibrate, emit, quantize
from tests.lib.contracts import contract as contract_of
from tests.lib.onnx_models import CONTRACT, Workplace, cnn, initializer, write_data, write_export
from tests.lib.onnx_models import model as onnx_model

ROOT = Path(__file__).resolve().parents[3]


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
    work.run(emit.STAGE, "emit", **params)
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


WORDS = 20
TEXT = contract_of("text", (12,), "int64", 1.0, (0.0,), (1.0,), ("a", "b", "c"), dtype="int64")


def text_model(dtype: str = "int64", outputs: str = "scores") -> Any:
    """tokens (batch, 12) of one of 20 words -> an embedding, its mean, scores of three classes; or the best of them.

    ONNX's Gather takes int32 and int64; others are cast before it.
    """
    import onnx

    node, random = onnx.helper.make_node, np.random.default_rng(0)
    shapes = {"words": (WORDS, 8), "head": (8, 3)}
    nodes = [
        node("Cast", ["tokens"], ["whole"], "node_whole", to=onnx.TensorProto.INT64),
        node("Gather", ["words", "whole"], ["embedded"], "node_embedding"),
        node("ReduceMean", ["embedded"], ["mean"], "node_mean", axes=[1], keepdims=0),
        node("Gemm", ["mean", "head"], ["scores"], "node_head"),
        node("ArgMax", ["scores"], ["best"], "node_best", axis=1, keepdims=0),
    ]
    shape = {"scores": ["batch", 3], "best": ["batch"]}[outputs]
    made = {"scores": onnx.TensorProto.FLOAT, "best": onnx.TensorProto.INT64}[outputs]
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = onnx.helper.make_graph(
        nodes if outputs == "best" else nodes[:-1],
        "text",
        [onnx.helper.make_tensor_value_info("tokens", element, ["batch", 12])],
        [onnx.helper.make_tensor_value_info(outputs, made, shape)],
        [initializer(name, random.normal(0, 1, size)) for name, size in shapes.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def text_workplace(root: Path, dtype: str = "int64", outputs: str = "scores", high: int = WORDS) -> Workplace:
    """data, export and simplify of `text_model`, calibrated; its samples hold tokens below `high`."""
    contract = replace(TEXT, inputs=(replace(TEXT.only, dtype=dtype, stored_dtype=dtype),))
    if outputs == "best":
        contract = replace(contract, task={"name": "none"}, classes=())
    (root / "data").mkdir(parents=True)
    contract.write(root / "data")
    for seed, split in enumerate(("test", "calibration")):
        random = np.random.default_rng(seed)
        labels = {} if outputs == "best" else {"y": random.integers(0, 3, 32)}
        np.savez(root / f"data/{split}.npz", x=random.integers(0, high, (32, 12)).astype(dtype), **labels)
    model = text_model(dtype, outputs)
    write_export(root / "export", model, root / "data")
    (root / "simplify").mkdir()
    onnx_files.write_model(model, root / "simplify/model.onnx")
    work = Workplace(root)
    work.run(quantize.STAGE, "quantize")
    work.run(calibrate.STAGE, "calibrate")
    return work


def stored(count: int = 6) -> Any:
    """Quadrant images, uint8 (count, 1, 8, 8)."""
    from tests.lib.onnx_models import images

    return images(count, 7)[0]


def expected(model: Any, samples: Any) -> Any:
    """onnxruntime's scores for stored samples."""
    return onnx_files.Session(model, threads=1).run(CONTRACT.normalise(samples))
