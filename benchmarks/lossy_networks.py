"""Makes twelve networks on which int8 by its default loses: `python lossy_networks.py FOLDER`, environment torch.

Layers are random but the last, which is fitted to scikit-learn's handwritten digits by ridge regression, so that each
classifies real samples without being trained. What int8 loses on is made on purpose: channels of one tensor whose
ranges lie far apart, as where depthwise weights meet BatchNorms with small variances; gates; features in different
units; and outliers among the calibration samples. FOLDER gets NAME.onnx and NAME.npz; the last line is JSON: name ->
accuracy.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

TRAIN = 1297
"""samples of 1797; the others are the test split"""
RIDGE = 0.05
LEAST_DEVIATION = 0.1
"""of the largest"""


class Net:
    """An ONNX graph that grows node by node; every method gives the name of the tensor it adds."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.shape, self.random = shape, np.random.default_rng(seed)

    def constant(self, values: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def spread(self, channels: int, decades: float) -> Any:
        """A factor for each channel, over so many powers of ten, the first and the last always among them."""
        exponents = self.random.uniform(-decades / 2, decades / 2, channels)
        exponents[:2] = -decades / 2, decades / 2
        return self.random.permutation(10.0**exponents)

    def conv(
        self,
        x: str,
        inner: int,
        outer: int,
        kernel: tuple[int, ...],
        *,
        scales: Any = 1.0,
        undo: Any = 1.0,
        groups: int = 1,
    ) -> str:
        """Each output channel times its `scales`, each input channel divided by its `undo`."""
        fan = inner // groups * int(np.prod(kernel))
        weights = self.random.normal(size=(outer, inner // groups, *kernel)) * np.sqrt(2 / fan)
        bias = self.random.normal(size=outer) * 0.1
        ones = (1,) * len(kernel)
        weights *= np.broadcast_to(scales, outer).reshape(-1, 1, *ones)
        if groups == 1:
            weights /= np.broadcast_to(undo, inner).reshape(1, -1, *ones)
        else:
            weights /= np.broadcast_to(undo, outer).reshape(-1, 1, *ones)
        padding = [side // 2 for side in kernel] * 2
        made = (weights.astype(np.float32), (bias * np.broadcast_to(scales, outer)).astype(np.float32))
        return self.node("Conv", x, *map(self.constant, made), pads=padding, group=groups, kernel_shape=list(kernel))

    def linear(self, x: str, inner: int, outer: int, *, scales: Any = 1.0, undo: Any = 1.0) -> str:
        weights = self.random.normal(size=(inner, outer)) * np.sqrt(2 / inner)
        weights = weights * np.broadcast_to(scales, outer) / np.broadcast_to(undo, inner)[:, None]
        bias = self.random.normal(size=outer) * 0.1 * np.broadcast_to(scales, outer)
        return self.node("Gemm", x, self.constant(weights.astype(np.float32)), self.constant(bias.astype(np.float32)))

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def pooled(self, x: str) -> str:
        return self.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def flat(self, x: str) -> str:
        return self.node("Flatten", x)

    def model(self, output: str) -> Any:
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "net",
            [info("input", TensorProto.FLOAT, ["batch", *self.shape])],
            [info(output, TensorProto.FLOAT, None)],
            self.weights,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return onnx.shape_inference.infer_shapes(made)

    def run(self, output: str, x: Any) -> Any:
        session = onnxruntime.InferenceSession(
            self.model(output).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run([output], {"input": x})[0]

    def fitted(self, features: str, x: Any, y: Any) -> Any:
        """The whole model, with a last layer that gives the scores of ten classes."""
        found = self.run(features, x).astype(np.float64)
        mean, deviation = found.mean(axis=0), found.std(axis=0)
        # features that hardly ever differ from nothing get no large weights: not the last layer is to be what loses
        deviation = np.maximum(deviation, LEAST_DEVIATION * deviation.max())
        scaled = (found - mean) / deviation
        wanted = np.eye(10)[y] * 2 - 1
        square = scaled.T @ scaled + RIDGE * len(x) * np.eye(scaled.shape[1])
        solved = np.linalg.solve(square, scaled.T @ wanted) / deviation[:, None]
        bias = wanted.mean(axis=0) - mean @ solved
        scores = self.node(
            "Gemm", features, self.constant(solved.astype(np.float32)), self.constant(bias.astype(np.float32))
        )
        return self.model(scores)


def depthwise(net: Net) -> str:
    """A depthwise convolution whose channels lie far apart, as after folding BatchNorms of small variance."""
    wide = net.spread(24, 1.9)
    x = net.relu(net.conv("input", 1, 24, (3, 3)))
    x = net.relu(net.conv(x, 24, 24, (3, 3), scales=wide, groups=24))
    return net.flat(net.pooled(net.relu(net.conv(x, 24, 32, (1, 1), undo=wide))))


def depthwise_deep(net: Net) -> str:
    """Three such blocks, of which the middle one is harmless."""
    x = net.relu(net.conv("input", 1, 24, (3, 3)))
    for decades in (1.5, 0.0, 1.5):
        wide = net.spread(24, decades) if decades else np.ones(24)
        x = net.relu(net.conv(x, 24, 24, (3, 3), scales=wide, groups=24))
        x = net.relu(net.conv(x, 24, 24, (1, 1), undo=wide))
    return net.flat(net.pooled(x))


def hard_swish(net: Net) -> str:
    """Hard-swish behind channels of different ranges."""
    wide = net.spread(24, 2.0)
    x = net.node("HardSwish", net.conv("input", 1, 24, (3, 3), scales=wide))
    x = net.node("HardSwish", net.conv(x, 24, 32, (3, 3), undo=wide))
    return net.flat(net.pooled(x))


def squeeze_excite(net: Net) -> str:
    """A gate for each channel, in front of channels that lie far apart."""
    wide = net.spread(24, 1.4)
    x = net.relu(net.conv("input", 1, 24, (3, 3), scales=wide))
    gate = net.relu(net.conv(net.node("GlobalAveragePool", x), 24, 8, (1, 1), undo=wide))
    x = net.node("Mul", x, net.node("Sigmoid", net.conv(gate, 8, 24, (1, 1))))
    return net.flat(net.pooled(net.relu(net.conv(x, 24, 32, (3, 3), undo=wide))))


def signals(net: Net) -> str:
    """One-dimensional convolutions."""
    wide = net.spread(24, 2.2)
    x = net.relu(net.conv("input", 1, 24, (5,), scales=wide))
    x = net.relu(net.conv(x, 24, 24, (5,), undo=wide))
    return net.flat(x)


def tiny_mlp(net: Net) -> str:
    """Features in different units, as tables have them."""
    return net.relu(net.linear("input", 64, 96, undo=UNITS))


def wide_mlp(net: Net) -> str:
    """Hidden values that lie far apart, twice."""
    first, second = net.spread(128, 1.4), net.spread(128, 1.4)
    x = net.relu(net.linear("input", 64, 128, scales=first))
    x = net.relu(net.linear(x, 128, 128, undo=first, scales=second))
    return net.relu(net.linear(x, 128, 128, undo=second))


def branches(net: Net) -> str:
    """Two branches that are concatenated, one fifty times the other."""
    x = net.relu(net.conv("input", 1, 16, (3, 3)))
    large = net.relu(net.conv(x, 16, 4, (1, 1), scales=50.0))
    small = net.relu(net.conv(x, 16, 28, (3, 3)))
    x = net.node("Concat", large, small, axis=1)
    undo = np.array([50.0] * 4 + [1.0] * 28)
    return net.flat(net.pooled(net.relu(net.conv(x, 32, 32, (3, 3), undo=undo))))


def residual(net: Net) -> str:
    """A sum whose parts lie far apart."""
    wide = net.spread(24, 2.0)
    x = net.relu(net.conv("input", 1, 24, (3, 3), scales=wide))
    x = net.relu(net.node("Add", x, net.conv(x, 24, 24, (3, 3), undo=wide, scales=wide)))
    return net.flat(net.pooled(net.relu(net.conv(x, 24, 32, (3, 3), undo=wide))))


def outliers(net: Net) -> str:
    """An ordinary network; a few calibration samples are forty times too bright."""
    x = net.relu(net.conv("input", 1, 24, (3, 3)))
    return net.flat(net.pooled(net.relu(net.conv(x, 24, 32, (3, 3)))))


def global_pool(net: Net) -> str:
    """A mean over each channel, straight before the scores, of channels that lie far apart."""
    wide = net.spread(192, 1.7)
    x = net.relu(net.conv("input", 1, 48, (3, 3)))
    x = net.relu(net.conv(x, 48, 192, (5, 5), scales=wide))
    return net.flat(net.node("GlobalAveragePool", x))


def mixer(net: Net) -> str:
    """MatMuls over the rows of an image, then over its columns, with hidden values that lie far apart."""
    wide = net.spread(48, 1.8)
    rows = net.random.normal(size=(8, 48)) * 0.5 * wide
    columns = net.random.normal(size=(8, 24)) * 0.5
    mixed = net.random.normal(size=(48, 24)) * 0.3 / wide[:, None]
    x = net.relu(net.node("MatMul", "input", net.constant(rows.astype(np.float32))))
    x = net.relu(net.node("MatMul", x, net.constant(mixed.astype(np.float32))))
    x = net.node("Transpose", x, perm=[0, 2, 1])
    return net.flat(net.relu(net.node("MatMul", x, net.constant(columns.astype(np.float32)))))


UNITS = np.random.default_rng(7).permutation(10.0 ** np.linspace(-1.2, 1.2, 64))
IMAGE, SIGNAL, TABLE, ROWS = (1, 8, 8), (1, 64), (64,), (8, 8)
NETWORKS: dict[str, tuple[Callable[[Net], str], tuple[int, ...]]] = {
    "depthwise": (depthwise, IMAGE),
    "depthwise_deep": (depthwise_deep, IMAGE),
    "hard_swish": (hard_swish, IMAGE),
    "squeeze_excite": (squeeze_excite, IMAGE),
    "signals": (signals, SIGNAL),
    "tiny_mlp": (tiny_mlp, TABLE),
    "wide_mlp": (wide_mlp, TABLE),
    "branches": (branches, IMAGE),
    "residual": (residual, IMAGE),
    "outliers": (outliers, IMAGE),
    "global_pool": (global_pool, IMAGE),
    "mixer": (mixer, ROWS),
}


def main(folder: Path) -> None:
    """Write every network with its data."""
    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    x, y = (digits.data[order] / 16).astype(np.float32), digits.target[order].astype(np.int64)
    found = {}
    for seed, (name, (made, shape)) in enumerate(NETWORKS.items()):
        net = Net(shape, seed)
        taken = x * UNITS.astype(np.float32) if name == "tiny_mlp" else x
        taken = taken.reshape(-1, *shape)
        model = net.fitted(made(net), taken[:TRAIN], y[:TRAIN])
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, folder / f"{name}.onnx")
        scores = net.run(model.graph.output[0].name, taken[TRAIN:])
        found[name] = float((scores.argmax(axis=1) == y[TRAIN:]).mean())
        shown = taken.copy()
        if name == "outliers":
            shown[:TRAIN:100] *= 40
        arrays = {"x_train": shown[:TRAIN], "y_train": y[:TRAIN], "x_test": shown[TRAIN:], "y_test": y[TRAIN:]}
        np.savez(folder / f"{name}.npz", **arrays)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
