"""Small ONNX models and data sets for the tests of stages that have no torch.

The data: 8x8 images, one quadrant brighter than the rest; the class is that quadrant.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.base import Inputs
from recast.stages.common.dataset import Contract
from recast.stages.common.onnx_models import onnx_files
from tests.lib.contracts import contract as contract_of

CLASSES = ("nw", "ne", "sw", "se")
CONTRACT = contract_of("quadrants", (1, 8, 8), "uint8", 255.0, (0.5,), (0.5,), CLASSES)


def images(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """x (count, 1, 8, 8) uint8 and y (count,) int64."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 4, count)
    x = random.integers(0, 120, (count, 1, 8, 8))
    for image, label in zip(x, y, strict=True):
        row, column = divmod(int(label), 2)
        image[0, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] += 100
    return x.astype(np.uint8), y


def write_data(folder: Path, contract: Contract = CONTRACT, count: int = 64) -> Path:
    """A data directory with the splits test and calibration; float32 samples if the contract says so."""
    folder.mkdir(parents=True)
    contract.write(folder)
    for seed, split in enumerate(("test", "calibration")):
        x, y = images(count, seed)
        stored = x.astype(contract.stored_dtype).reshape(count, *contract.shape)
        np.savez(folder / f"{split}.npz", x=stored, y=y)
    return folder


def initializer(name: str, values: Any, dtype: Any = np.float32) -> Any:
    import onnx

    return onnx.numpy_helper.from_array(np.asarray(values, dtype), name)


def model(
    nodes: Sequence[Any],
    weights: Sequence[Any],
    shape: Sequence[int | str] = ("batch", 1, 8, 8),
    opset: int = 18,
    outputs: Sequence[str] = ("scores",),
) -> Any:
    import onnx

    graph = onnx.helper.make_graph(
        list(nodes),
        "quadrants",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, list(shape))],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [shape[0], 4]) for name in outputs],
        list(weights),
    )
    imports = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)


def cnn(batch: int | str = "batch", opset: int = 18) -> Any:
    """Conv, Relu, MaxPool, Reshape (as PyTorch exports Flatten) and Gemm: right on every image."""
    return model(cnn_nodes(opset), cnn_weights(), (batch, 1, 8, 8), opset)


def cnn_nodes(opset: int = 18) -> list[Any]:
    import onnx

    node = onnx.helper.make_node
    allowzero = {"allowzero": 1} if opset >= 14 else {}
    return [
        node("Conv", ["image", "conv.weight", "conv.bias"], ["features"], "node_conv", pads=[1, 1, 1, 1]),
        node("Relu", ["features"], ["positive"], "node_relu"),
        node("MaxPool", ["positive"], ["pooled"], "node_pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["pooled", "flat_shape"], ["flat"], "node_flatten", **allowzero),
        node("Gemm", ["flat", "head.weight", "head.bias"], ["scores"], "node_head", transB=1),
    ]


def cnn_weights() -> list[Any]:
    blur, centre = np.full((3, 3), 1 / 9), np.zeros((3, 3))
    centre[1, 1] = 1
    head = np.zeros((4, 2, 4, 4))
    for label in range(4):
        row, column = divmod(label, 2)
        head[label, :, row * 2 : row * 2 + 2, column * 2 : column * 2 + 2] = 1
    return [
        initializer("conv.weight", np.stack([blur, centre])[:, None]),
        initializer("conv.bias", [1.0, 1.0]),
        initializer("flat_shape", [-1, 32], np.int64),
        initializer("head.weight", head.reshape(4, 32)),
        initializer("head.bias", [0.0, 0.0, 0.0, 0.0]),
    ]


def write_export(folder: Path, exported: Any, data: Path) -> Path:
    """What `export` writes: model.onnx and reference.safetensors, from the model's own outputs."""
    import onnx
    from safetensors.numpy import save_file

    from recast.stages.common import dataset

    folder.mkdir(parents=True)
    onnx.save(exported, folder / "model.onnx")
    samples, _ = dataset.read(data, "calibration")
    samples = samples[:8]
    output = onnx_files.Session(exported, threads=1).run(samples)
    save_file({"input": samples, "output": output}, folder / "reference.safetensors")
    return folder


class Workplace:
    """Runs stages one after another below one folder, each with the directories of those before it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, stage: Any, name: str, files: dict[str, Path] | None = None, **params: Any) -> dict[str, Any]:
        """Run the stage into `<root>/<name>`; its inputs are the folders of the same root."""
        out, scratch = self.root / name, self.root / f"{name}.scratch"
        for folder in (out, scratch):
            folder.mkdir()
        directories = {key: self.root / key for key in stage.inputs}
        inputs = Inputs(directories, files=files or {}, sources=stage.source_paths, scratch=scratch)
        metrics: dict[str, Any] = stage.run(stage.params(**params), inputs, out)
        return metrics


def contents(folder: Path) -> dict[str, bytes]:
    """Relative path -> bytes of every file below the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
