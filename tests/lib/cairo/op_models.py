"""ONNX models that hold many small operations side by side, so that one compiled program tests them all.

Each case reads the model's input, reshaped, or a few of its elements in a safe range; all outputs are joined into one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

INPUT = 96
LOW, HIGH = -2.0, 2.0
"""range of the input's elements"""


class Graph:
    """Collects nodes and weights; `case` begins a branch from the input."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.ends: list[str] = []
        self._count = 0

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        import onnx

        self._count += 1
        name = f"{op.lower()}{self._count}"
        self.nodes.append(onnx.helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def weight(self, values: Any, dtype: Any = np.float32) -> str:
        import onnx

        self._count += 1
        name = f"weight{self._count}"
        self.weights.append(onnx.numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def branch(self, shape: Sequence[int], start: int = 0) -> str:
        """Elements of the input from `start` on, in this shape."""
        size = int(np.prod(shape))
        assert start + size <= INPUT
        names = [self.weight([value], np.int64) for value in (start, start + size, 1)]
        part = self.node("Slice", ["x", *names])
        return self.node("Reshape", [part, self.weight([-1, *shape], np.int64)])

    def end(self, name: str) -> None:
        self.ends.append(self.node("Flatten", [name], axis=1))

    def model(self) -> Any:
        import onnx

        self.node("Concat", self.ends, axis=1)
        made = onnx.helper.make_graph(
            self.nodes,
            "cases",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", INPUT])],
            [onnx.helper.make_tensor_value_info(self.nodes[-1].output[0], onnx.TensorProto.FLOAT, None)],
            self.weights,
        )
        return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


def _size(rng: Generator, most: int = 4) -> int:
    return int(rng.integers(1, most + 1))


def _image(rng: Generator) -> tuple[int, int, int]:
    return _size(rng, 3), int(rng.integers(2, 6)), int(rng.integers(2, 6))


def _shape(rng: Generator) -> list[int]:
    return [_size(rng) for _ in range(int(rng.integers(1, 4)))]


def gemm(g: Graph, rng: Generator) -> str:
    taps, rows = _size(rng, 12), _size(rng, 9)
    transposed = int(rng.integers(2))
    weight = rng.normal(size=(rows, taps) if transposed else (taps, rows)) * (
        rng.random((rows, taps) if transposed else (taps, rows)) > 0.3
    )
    inputs = [g.branch([taps]), g.weight(weight)]
    if rng.integers(2):
        inputs.append(g.weight(rng.normal(size=rows)))
    end = g.node("Gemm", inputs, transB=transposed, alpha=float(rng.uniform(0.5, 2)), beta=0.5)
    return g.node("Relu", [end]) if rng.integers(2) else end


def matmul(g: Graph, rng: Generator) -> str:
    *rest, taps = [*_shape(rng)[:2], _size(rng, 6)]
    return g.node("MatMul", [g.branch([*rest, taps]), g.weight(rng.normal(size=(taps, _size(rng, 7))))])


def _window(rng: Generator, image: Sequence[int]) -> dict[str, Any]:
    kernel = [int(rng.integers(1, size + 1)) for size in image]
    pads = [int(rng.integers(0, size)) for size in kernel]
    return {"kernel_shape": kernel, "strides": [_size(rng, 2), _size(rng, 2)], "pads": [*pads, *pads]}


def conv(g: Graph, rng: Generator) -> str:
    groups, (channels, height, width) = _size(rng, 2), _image(rng)
    channels = groups * _size(rng, 2)
    height, width = min(height, 4), min(width, 5)
    outputs = groups * _size(rng, 3)
    window = _window(rng, (height, width))
    if rng.integers(4) == 0:
        window = {"kernel_shape": [1, 2], "strides": [1, 1], "dilations": [1, width - 1], "pads": [0, 0, 0, 0]}
    if rng.integers(4) == 0:
        window = {**window, "auto_pad": "SAME_UPPER"}
        del window["pads"]
        window["dilations"] = [1, 1]
    weight = rng.normal(size=(outputs, channels // groups, *window["kernel_shape"])) * 0.5
    inputs = [g.branch([channels, height, width]), g.weight(weight)]
    if rng.integers(2):
        inputs.append(g.weight(rng.normal(size=outputs)))
    end = g.node("Conv", inputs, group=groups, **window)
    return g.node("Relu", [end]) if rng.integers(2) else end


def max_pool(g: Graph, rng: Generator) -> str:
    shape = _image(rng)
    return g.node("MaxPool", [g.branch(shape)], **_window(rng, shape[1:]))


def average_pool(g: Graph, rng: Generator) -> str:
    shape = _image(rng)
    counted = int(rng.integers(2))
    return g.node("AveragePool", [g.branch(shape)], count_include_pad=counted, **_window(rng, shape[1:]))


def global_average_pool(g: Graph, rng: Generator) -> str:
    return g.node("GlobalAveragePool", [g.branch(_image(rng))])


def batch_normalization(g: Graph, rng: Generator) -> str:
    shape = _image(rng)
    values = [rng.normal(size=shape[0]) for _ in range(3)] + [rng.uniform(0.2, 2, shape[0])]
    return g.node("BatchNormalization", [g.branch(shape), *(g.weight(value) for value in values)])


def _each(op: str, **ranges: tuple[float, float]) -> Callable[[Graph, Generator], str]:
    def case(g: Graph, rng: Generator) -> str:
        attributes = {name: float(rng.uniform(*ends)) for name, ends in ranges.items()}
        return g.node(op, [g.branch(_shape(rng), int(rng.integers(0, 32)))], **attributes)

    return case


def clip(g: Graph, rng: Generator) -> str:
    limits = [g.weight(np.float32(-rng.uniform(0, 1))), g.weight(np.float32(rng.uniform(0, 1)))]
    limits = [["", limits[1]], [limits[0]], limits][rng.integers(3)]
    return g.node("Clip", [g.branch(_shape(rng)), *limits])


def log(g: Graph, rng: Generator) -> str:
    above = g.node("Add", [g.branch(_shape(rng)), g.weight(np.float32(rng.uniform(2.001, 9)))])
    return g.node("Log", [above])


def _run(op: str) -> Callable[[Graph, Generator], str]:
    def case(g: Graph, rng: Generator) -> str:
        shape = _shape(rng)
        return g.node(op, [g.branch(shape)], axis=int(rng.integers(1, len(shape) + 1)))

    return case


def _pair(op: str) -> Callable[[Graph, Generator], str]:
    def case(g: Graph, rng: Generator) -> str:
        shape = _shape(rng)
        other = [1 if rng.integers(3) == 0 else size for size in shape][int(rng.integers(len(shape))) :]
        a = g.branch(shape)
        if rng.integers(2):
            b = g.weight(rng.uniform(0.5, 2, other) * rng.choice([-1, 1], other))
        else:
            other = [1] * (len(shape) - len(other)) + other
            b = g.branch(other, 40)
            # a divisor must not reach zero
            b = (
                g.node("Add", [b, g.weight(np.float32(rng.choice([-1, 1]) * rng.uniform(2.2, 4)))])
                if op == "Div"
                else b
            )
        return g.node(op, [a, b])

    return case


def _reduce(op: str) -> Callable[[Graph, Generator], str]:
    def case(g: Graph, rng: Generator) -> str:
        shape = _shape(rng)
        chosen = sorted({int(axis) for axis in rng.integers(1, len(shape) + 1, 2)})
        return g.node(op, [g.branch(shape), g.weight(chosen, np.int64)], keepdims=int(rng.integers(2)))

    return case


def argmax(g: Graph, rng: Generator) -> str:
    import onnx

    shape = _shape(rng)
    found = g.node(
        "ArgMax", [g.branch(shape)], axis=int(rng.integers(1, len(shape) + 1)), keepdims=int(rng.integers(2))
    )
    return g.node("Cast", [found], to=onnx.TensorProto.FLOAT)


def moves(g: Graph, rng: Generator) -> str:
    """Transpose, Reshape, Flatten and Concat, with something to compute behind them."""
    a, b, c = _size(rng, 3), _size(rng, 4), _size(rng, 5)
    turned = g.node("Transpose", [g.branch([a, b, c])], perm=[0, *(1 + rng.permutation(3)).tolist()])
    both = g.node("Concat", [turned, turned], axis=int(rng.integers(1, 4)))
    flat = g.node("Flatten", [both], axis=1)
    return g.node("Gemm", [flat, g.weight(rng.normal(size=(2 * a * b * c, 3)) * 0.3)])


CASES: dict[str, Callable[[Graph, Generator], str]] = {
    "Gemm": gemm,
    "MatMul": matmul,
    "Conv": conv,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "BatchNormalization": batch_normalization,
    "Relu": _each("Relu"),
    "LeakyRelu": _each("LeakyRelu", alpha=(0, 1)),
    "Clip": clip,
    "Exp": _each("Exp"),
    "Log": log,
    "Sigmoid": _each("Sigmoid"),
    "Tanh": _each("Tanh"),
    "Softmax": _run("Softmax"),
    "LogSoftmax": _run("LogSoftmax"),
    "Add": _pair("Add"),
    "Sub": _pair("Sub"),
    "Mul": _pair("Mul"),
    "Div": _pair("Div"),
    "ReduceMean": _reduce("ReduceMean"),
    "ReduceSum": _reduce("ReduceSum"),
    "ReduceMax": _reduce("ReduceMax"),
    "ArgMax": argmax,
    "Transpose": moves,
}


def cases(names: Sequence[str], each: int, seed: int) -> Any:
    """One model with `each` random cases of every operation."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    for name in names:
        for _ in range(each):
            graph.end(CASES[name](graph, rng))
    return graph.model()
