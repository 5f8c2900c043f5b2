"""A model of several inputs, one of each type that a model may take, and several outputs; data for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recast.stages.common.dataset import Contract, Input
from recast.stages.common.onnx_models import onnx_files
from tests.lib.onnx_models import Workplace, cnn_weights, images, initializer

INPUTS = {
    "image": {"mean": 0.5, "std": 0.5},
    "ids": {},
    "mask": {},
    "half": {"dtype": "float16"},
    "octets": {"dtype": "uint8"},
}
"""data.inputs"""


def write_npz(path: Path, count: int = 96, **changes: Any) -> Path:
    """Arrays of INPUTS, and y, a class of four; `changes`: other arrays, None for one that is left out."""
    random = np.random.default_rng(0)
    image, y = images(count, 0)
    arrays: dict[str, Any] = {
        "image": image,
        "ids": random.integers(0, 10, (count, 3)),
        "mask": random.integers(0, 2, (count, 8)).astype(bool),
        "half": random.normal(size=(count, 8)).astype(np.float16),
        "octets": random.integers(0, 256, (count, 8)).astype(np.uint8),
        "y": y,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})
    return path


def many(batch: int | str = "batch", names: tuple[str, ...] = tuple(INPUTS)) -> Any:
    """Float32, int64, bool, float16 and uint8 in; scores (N, 4), a class (N,) and an energy (N,) out."""
    import onnx

    node, kinds, info = onnx.helper.make_node, onnx.TensorProto, onnx.helper.make_tensor_value_info
    image, ids, mask, half, octets = names
    random = np.random.default_rng(1)
    nodes = [
        node("Conv", [image, "conv.weight", "conv.bias"], ["features"], "conv", pads=[1, 1, 1, 1]),
        node("Relu", ["features"], ["positive"], "relu"),
        node("MaxPool", ["positive"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["pooled", "flat_shape"], ["flat"], "flatten"),
        node("Gemm", ["flat", "head.weight", "head.bias"], ["seen"], "head", transB=1),
        node("Gather", ["table", ids], ["embedded"], "embed"),
        node("ReduceMean", ["embedded", "axis"], ["token"], "mean", keepdims=0),
        node("Cast", [mask], ["mask.float"], "mask_cast", to=kinds.FLOAT),
        node("Cast", [half], ["half.float"], "half_cast", to=kinds.FLOAT),
        node("Cast", [octets], ["octets.float"], "octets_cast", to=kinds.FLOAT),
        node("Mul", ["octets.float", "scale"], ["octets.small"], "octets_scale"),
        node("Mul", ["half.float", "mask.float"], ["kept"], "keep"),
        node("Concat", ["token", "kept", "octets.small"], ["side"], "concat", axis=1),
        node("Gemm", ["side", "side.weight"], ["aside"], "side_head", transB=1),
        node("Add", ["seen", "aside"], ["scores"], "add"),
        node("ArgMax", ["scores"], ["class"], "argmax", axis=1, keepdims=0),
        node("ReduceSum", ["side", "axis"], ["energy"], "energy", keepdims=0),
    ]
    taken = [
        info(image, kinds.FLOAT, [batch, 1, 8, 8]),
        info(ids, kinds.INT64, [batch, 3]),
        info(mask, kinds.BOOL, [batch, 8]),
        info(half, kinds.FLOAT16, [batch, 8]),
        info(octets, kinds.UINT8, [batch, 8]),
    ]
    made = [
        info("scores", kinds.FLOAT, [batch, 4]),
        info("class", kinds.INT64, [batch]),
        info("energy", kinds.FLOAT, [batch]),
    ]
    weights = [
        *cnn_weights(),
        initializer("table", random.normal(size=(10, 8))),
        initializer("axis", [1], np.int64),
        initializer("scale", 1 / 255),
        initializer("side.weight", random.normal(size=(4, 24), scale=0.05)),
    ]
    graph = onnx.helper.make_graph(nodes, "many", taken, made, weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


CONTRACT = Contract(
    "many",
    (
        Input("image", (1, 8, 8), "uint8", 255.0, (0.5,), (0.5,)),
        Input("ids", (3,), "int64", dtype="int64"),
        Input("mask", (8,), "bool", dtype="bool"),
        Input("half", (8,), "float16", dtype="float16"),
        Input("octets", (8,), "uint8", dtype="uint8"),
    ),
    ("nw", "ne", "sw", "se"),
)


def compiled(
    root: Path, scheme: str = "float32", batch: int | str = "batch", task: str = "classification"
) -> Workplace:
    """data, export, simplify, and quantize and calibrate of wasm, of `many`."""
    from recast.stages.targets.wasm import calibrate, quantize

    (root / "data").mkdir(parents=True)
    CONTRACT.write(root / "data")
    for split in ("calibration", "test"):
        write_npz(root / f"data/{split}.npz", 32)
    (root / "export").mkdir()
    (root / "simplify").mkdir()
    for folder in ("export", "simplify"):
        onnx_files.write_model(many(), root / folder / "model.onnx")
    work = Workplace(root)
    work.run(quantize.STAGE, "quantize", scheme=scheme)
    work.run(calibrate.STAGE, "calibrate")
    return work
