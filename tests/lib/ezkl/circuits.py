"""Small circuits for the tests of the target: networks on 8x8 images, one quadrant brighter than the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.ezkl import calibrate, emit, quantize
from tests.lib.onnx_models import Workplace, initializer, model, write_data

OPSET = 12


def mlp() -> Any:
    """Flatten, Gemm, Relu and Gemm: the mean of each quadrant, scaled."""
    import onnx

    node = onnx.helper.make_node
    return model(
        [
            node("Flatten", ["image"], ["flat"], "flatten", axis=1),
            node("Gemm", ["flat", "first.weight", "first.bias"], ["hidden"], "first", transB=1),
            node("Relu", ["hidden"], ["positive"], "relu"),
            node("Gemm", ["positive", "second.weight", "second.bias"], ["scores"], "second", transB=1),
        ],
        [
            initializer("first.weight", quadrants() / 4),
            initializer("first.bias", np.full(4, 5.0)),
            initializer("second.weight", np.eye(4)),
            initializer("second.bias", np.zeros(4)),
        ],
        opset=OPSET,
    )


def with_sigmoid() -> Any:
    """Flatten, Gemm and Sigmoid: a circuit with a lookup, which has a range."""
    import onnx

    node = onnx.helper.make_node
    return model(
        [
            node("Flatten", ["image"], ["flat"], "flatten", axis=1),
            node("Gemm", ["flat", "first.weight", "first.bias"], ["hidden"], "first", transB=1),
            node("Sigmoid", ["hidden"], ["scores"], "sigmoid"),
        ],
        [initializer("first.weight", quadrants() / 4), initializer("first.bias", np.zeros(4))],
        opset=OPSET,
    )


def embedding(words: int) -> Any:
    """Whether a pixel is bright looks a row up in a table of so many; the rows' mean are the scores."""
    import onnx

    node = onnx.helper.make_node
    return model(
        [
            node("Relu", ["image"], ["positive"], "relu"),
            node("Cast", ["positive"], ["tokens"], "cast", to=onnx.TensorProto.INT64),
            node("Flatten", ["tokens"], ["flat"], "flatten", axis=1),
            node("Gather", ["table", "flat"], ["found"], "embedding"),
            node("ReduceMean", ["found"], ["scores"], "mean", axes=[1], keepdims=0),
        ],
        [initializer("table", np.random.default_rng(0).normal(0, 2, (words, 4)))],
        opset=OPSET,
    )


def spatial() -> Any:
    """A convolution whose output is maps of two channels."""
    import onnx

    made = model(
        [onnx.helper.make_node("Conv", ["image", "kernels"], ["scores"], "conv", pads=[1, 1, 1, 1], strides=[2, 2])],
        [initializer("kernels", np.random.default_rng(0).normal(0.2, 0.1, (2, 1, 3, 3)))],
        opset=OPSET,
    )
    del made.graph.output[0].type.tensor_type.shape.dim[1:]
    for length in (2, 4, 4):
        made.graph.output[0].type.tensor_type.shape.dim.add().dim_value = length
    return made


def shuffled() -> Any:
    """ShuffleNet's unit: half of a convolution's channels go through another, and all are shuffled."""
    import onnx

    node, random = onnx.helper.make_node, np.random.default_rng(0)
    return model(
        [
            node("Conv", ["image", "first"], ["maps"], "conv", pads=[1, 1, 1, 1]),
            node("Relu", ["maps"], ["positive"], "relu"),
            node("Split", ["positive"], ["left", "right"], "split", axis=1),
            node("Conv", ["right", "depthwise"], ["side"], "depthwise", pads=[1, 1, 1, 1], group=2),
            node("Concat", ["left", "side"], ["both"], "concat", axis=1),
            node("Reshape", ["both", "apart"], ["groups"], "groups"),
            node("Transpose", ["groups"], ["turned"], "turned", perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["turned", "together"], ["channels"], "shuffled"),
            node("ReduceMean", ["channels"], ["means"], "mean", axes=[2, 3], keepdims=0),
            node("Gemm", ["means", "last"], ["scores"], "scores", transB=1),
        ],
        [
            initializer("first", random.normal(0, 0.4, (4, 1, 3, 3))),
            initializer("depthwise", random.normal(0, 0.4, (2, 1, 3, 3))),
            initializer("last", random.normal(0, 1, (4, 4))),
            initializer("apart", [-1, 2, 2, 8, 8], np.int64),
            initializer("together", [-1, 4, 8, 8], np.int64),
        ],
        opset=OPSET,
    )


def convolutional() -> Any:
    """Conv (padded), Relu, AveragePool, Flatten and Gemm on the mean of each quadrant."""
    import onnx

    node = onnx.helper.make_node
    kernels = np.random.default_rng(0).normal(0.2, 0.1, (6, 1, 3, 3))
    # each quadrant's mean, summed over the channels
    weight = np.tile(np.eye(4), 6)
    return model(
        [
            node("Conv", ["image", "kernels", "bias"], ["seen"], "conv", pads=[1, 1, 1, 1]),
            node("Relu", ["seen"], ["positive"], "relu"),
            node("AveragePool", ["positive"], ["pooled"], "pool", kernel_shape=[4, 4], strides=[4, 4]),
            node("Flatten", ["pooled"], ["flat"], "flatten", axis=1),
            node("Gemm", ["flat", "weight"], ["scores"], "gemm", transB=1),
        ],
        [
            initializer("kernels", kernels),
            initializer("bias", np.linspace(-0.1, 0.1, 6)),
            initializer("weight", weight / 2),
        ],
        opset=OPSET,
    )


def pooled(factor: float = 2.0, shape: Sequence[int | str] = ("batch", 1, 8, 8)) -> Any:
    """AveragePool, Flatten and Gemm: the mean of each quadrant, times `factor`; few enough weights to hash."""
    import onnx

    node = onnx.helper.make_node
    return model(
        [
            node("AveragePool", ["image"], ["means"], "pool", kernel_shape=[4, 4], strides=[4, 4]),
            node("Flatten", ["means"], ["flat"], "flatten", axis=1),
            node("Gemm", ["flat", "weight", "bias"], ["scores"], "head", transB=1),
        ],
        [initializer("weight", factor * np.eye(4)), initializer("bias", np.full(4, 0.5))],
        shape,
        OPSET,
    )


def quadrants() -> np.ndarray[Any, Any]:
    """(4, 64): row i picks the pixels of quadrant i."""
    rows = np.zeros((4, 8, 8))
    for label in range(4):
        row, column = divmod(label, 2)
        rows[label, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] = 1
    return rows.reshape(4, 64)


def workplace(root: Path, network: Any) -> Workplace:
    """A folder with data/ and simplify/."""
    root.mkdir(exist_ok=True)
    write_data(root / "data")
    (root / "simplify").mkdir()
    onnx_files.write_model(network, root / "simplify" / "model.onnx")
    return Workplace(root)


def with_whole_numbers(work: Workplace) -> None:
    """Make its samples black and white: normalised, that is -1 and 1."""
    for split in ("test", "calibration"):
        file = work.root / f"data/{split}.npz"
        with np.load(file) as arrays:
            x, y = arrays["x"], arrays["y"]
        np.savez(file, x=np.where(x < 128, np.uint8(0), np.uint8(255)), y=y)


def emitted(
    root: Path,
    network: Any,
    calibrated: dict[str, Any] | None = None,
    quantized: dict[str, Any] | None = None,
    **params: Any,
) -> Workplace:
    """The same after quantize, calibrate and emit, with an insecure SRS and without a contract unless asked for."""
    work = workplace(root, network)
    work.run(quantize.STAGE, "quantize", **(quantized or {}))
    work.run(calibrate.STAGE, "calibrate", **(calibrated or {}))
    work.run(emit.STAGE, "emit", **({"insecure_srs": True, "evm": False} | params))
    return work
