"""Small emitted models of every task, over images of 16x16 pixels with a brighter square, or over a few values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.wasm import calibrate, emit, quantize
from tests.lib.contracts import contract as contract_of
from tests.lib.onnx_models import Workplace, initializer, write_export

node = onnx.helper.make_node
SIDE = 16
IMAGE, VALUES = (1, SIDE, SIDE), (6,)


def _squares(count: int, seed: int) -> Any:
    """Stored images (count, 1, 16, 16), and the class of each pixel: 1 in the square, 2 in its middle."""
    random = np.random.default_rng(seed)
    x = random.integers(20, 60, (count, *IMAGE))
    y = np.zeros((count, SIDE, SIDE), np.int64)
    for image, label in zip(x, y, strict=True):
        top, left = random.integers(1, SIDE - 9, 2)
        image[0, top : top + 8, left : left + 8] += 90
        image[0, top + 2 : top + 6, left + 2 : left + 6] += 90
        label[top : top + 8, left : left + 8] = 1
        label[top + 2 : top + 6, left + 2 : left + 6] = 2
    return x.astype(np.uint8), y


def _head(outputs: int, size: int) -> list[Any]:
    random = np.random.default_rng(1)
    return [
        initializer("head", random.normal(0, 0.4, (size, outputs))),
        initializer("bias", random.normal(size=outputs)),
    ]


def _dense(outputs: int, shape: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    nodes = [node("Flatten", ["x"], ["flat"], "flat"), node("Gemm", ["flat", "head", "bias"], ["y"], "head")]
    return nodes, _head(outputs, int(np.prod(shape)))


BY_LEVEL = [
    initializer("level", np.array([0.0, 4.0, 8.0]).reshape(3, 1, 1, 1)),
    initializer("from", [0.0, -1.2, -8.0]),
]
FORMS: dict[str, tuple[tuple[int, ...], tuple[str, ...], list[int | str], tuple[list[Any], list[Any]]]] = {
    "classification": (IMAGE, ("cat", "dog", "bird"), ["n", 3], _dense(3, IMAGE)),
    "binary": (IMAGE, ("no square", "square"), ["n", 1], _dense(1, IMAGE)),
    "multilabel": (VALUES, ("hot", "wet", "loud", "old"), ["n", 4], _dense(4, VALUES)),
    "regression": (VALUES, (), ["n", 1], _dense(1, VALUES)),
    "reconstruction": (
        IMAGE, ("normal", "odd"), ["n", *IMAGE],
        ([node("AveragePool", ["x"], ["y"], "blur", kernel_shape=[3, 3], pads=[1] * 4)], []),
    ),
    "segmentation": (
        IMAGE, ("ground", "square", "middle"), ["n", 3, SIDE, SIDE],
        ([node("Conv", ["x", "level", "from"], ["y"], "levels")], BY_LEVEL),
    ),
    "embedding": (IMAGE, (), ["n", 64], _dense(64, IMAGE)),
    "none": (VALUES, (), ["n", 2], _dense(2, VALUES)),
    "detection": (
        IMAGE, (), ["n", 3, SIDE, SIDE], ([node("Conv", ["x", "level", "from"], ["y"], "levels")], BY_LEVEL),
    ),
}  # fmt: skip
"""task -> shape of a sample, classes, shape of the output, nodes and weights"""


def workplace(root: Path, task: str) -> Workplace:
    """data, export, simplify, quantize and calibrate of a model of the task."""
    shape, classes, made, (nodes, weights) = FORMS[task]
    is_image = shape == IMAGE
    contract = contract_of(
        "squares" if is_image else "readings", shape, "uint8" if is_image else "float32",
        255.0 if is_image else 1.0, (0.25,), (0.25,), classes, {"name": task},
    )  # fmt: skip
    data = root / "data"
    data.mkdir(parents=True)
    contract.write(data)
    for seed, split in enumerate(("test", "calibration")):
        x, pixels = _squares(24, seed)
        random = np.random.default_rng(seed)
        if not is_image:
            x = random.normal(size=(24, *shape)).astype(np.float32)
        labels = {
            "classification": np.arange(24) % 3, "binary": np.arange(24) % 2, "reconstruction": np.arange(24) % 2,
            "multilabel": random.integers(0, 2, (24, 4)), "regression": x.sum(1, keepdims=True),
            "segmentation": pixels, "embedding": np.arange(24) % 4,
        }  # fmt: skip
        np.savez(data / f"{split}.npz", x=x, **({"y": labels[task]} if task in labels else {}))
    graph = onnx.helper.make_graph(
        nodes,
        task,
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", *shape])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, made)],
        weights,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    write_export(root / "export", model, data)
    (root / "simplify").mkdir()
    onnx_files.write_model(model, root / "simplify/model.onnx")
    work = Workplace(root)
    work.run(quantize.STAGE, "quantize")
    work.run(calibrate.STAGE, "calibrate")
    return work


def emitted(root: Path, task: str) -> Path:
    """The emitted folder of a model of the task."""
    workplace(root, task).run(emit.STAGE, "emit", engine="native")
    return root / "emit"
