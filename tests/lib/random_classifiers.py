"""Small random classifiers as people's ONNX files are: of many operator sets, half simplified, and oddly written.

Images, signals or features in, one score per class out. Biases of any shape that ONNX allows, subgraphs of constants,
Ifs, tensors without elements, nodes without names, weights as Constants or listed as inputs, axes that are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21)
ACTIVATIONS = {
    "Relu": 7, "LeakyRelu": 7, "Sigmoid": 7, "Tanh": 7, "Elu": 7, "HardSigmoid": 7, "Softplus": 7, "Abs": 7, "Neg": 7,
    "Selu": 7, "Softsign": 7, "Erf": 9, "HardSwish": 14, "Mish": 18, "Gelu": 20,
}  # fmt: skip
"""operation -> the first operator set that has it"""
NAMES = ("node", "layer/conv:0", "a node", "größe", "0", "Conv.1")


class RandomClassifier:
    """A network grown operation by operation from a seed; all choices follow from it.

    `operations`: those it may have, beside Constant, Identity and those of its head; all if None. With `square`, it
    begins with a convolution of an image, and most windows are square and bounds at zero, as accelerators have them.
    """

    def __init__(
        self,
        seed: int,
        opsets: Sequence[int] = OPSETS,
        operations: frozenset[str] | None = None,
        square: bool = False,
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.operations, self.square = operations, square
        self.opset = int(self.random.choice(list(opsets)))
        self.classes = self._int(2, 7)
        self.nodes: list[Any] = []
        self.weights: dict[str, NDArray[Any]] = {}
        self.shape = self._choose([
            (1, 8, 8), (3, 7, 9), (2, 5, 5), (1, 1, 6), (4, 6, 1), (8,), (1,), (3, 12), (1, 9),
        ])  # fmt: skip
        self.sources: dict[str, tuple[int, ...]] = {}
        """tensor -> shape of one sample"""
        self.last, self.last_shape = "x", self.shape
        self.sources["x"] = self.shape
        self._used_names: set[str] = set()
        if square:
            self.last_shape = self.shape = self.sources["x"] = (self._choose([1, 3]), 10, 10)
            self._conv()
        wanted = self._int(2, 7)
        for _ in range(60):
            before = len(self.nodes)
            self._grow()
            wanted -= len(self.nodes) > before
            if wanted == 0:
                break
        self._head()

    # what the tests read

    def model(self) -> Any:
        """The `onnx.ModelProto`; its output (N, classes) is called `y`."""
        import onnx

        batch: int | str = "N" if self.random.random() < 0.8 else self._choose([1, 5])
        ir = 3 if self.opset < 9 and self._chance(0.4) else {True: 6, False: 8}[self.opset < 13]
        ir = 10 if self.opset > 18 else ir
        initializers = [onnx.numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        inputs = [onnx.helper.make_tensor_value_info("x", 1, [batch, *self.shape])]
        if ir < 4 or self._chance(0.15):
            listed = [onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in initializers]
            inputs = [*listed, *inputs] if self._chance(0.3) else [*inputs, *listed]
        output = onnx.helper.make_tensor_value_info("y", 1, [batch, self.classes])
        graph = onnx.helper.make_graph(self.nodes, "random", inputs, [output], initializers)
        imports = [onnx.helper.make_opsetid("", self.opset)]
        if self._chance(0.2):
            imports.append(onnx.helper.make_opsetid("ai.onnx.ml", 2))
        return onnx.helper.make_model(graph, opset_imports=imports, ir_version=ir)

    def samples(self, count: int) -> NDArray[np.float32]:
        """Inputs, float32 (count, *shape)."""
        return self.random.normal(size=(count, *self.shape)).astype(np.float32)

    # how it grows

    def _may(self, op: str) -> bool:
        return self.operations is None or op in self.operations or op in ("Constant", "Identity")

    def _grow(self) -> None:
        rank = len(self.last_shape)
        options: list[Callable[[], None]] = [
            self._activation, self._activation, self._clip, self._arithmetic, self._arithmetic, self._residual,
            self._identity, self._constant_if, self._shape_if, self._empty_part, self._computed_weight, self._dropout,
            self._cast, self._slice, self._pad, self._transpose_twice, self._reshape_twice, self._split,
            self._unsqueezed,
        ]  # fmt: skip
        if rank > 1:
            options += [self._conv] * 6 + [self._batch_norm] * 2 + [self._pool] * 2
            options += [self._prelu, self._norm, self._reduce]
        else:
            options += [self._dense] * 4 + [self._layer_norm]
        if rank == 3:
            options += [self._conv_transpose, self._resize, self._depth_to_space]
        if self.square:
            options = [self._conv] * 4 + [self._batch_norm, self._activation, self._clip, self._residual, self._pool]
        before = (list(self.nodes), dict(self.weights), dict(self.sources), self.last, self.last_shape)
        self._choose(options)()
        if not all(self._may(node.op_type) for node in self.nodes[len(before[0]) :]):
            self.nodes, self.weights, self.sources, self.last, self.last_shape = before
        if np.prod(self.last_shape) > 600:
            self._pool_away()

    def _add(self, op: str, inputs: Sequence[str], shape: tuple[int, ...] | None = None, **attributes: Any) -> None:
        """Append a node that reads the last tensor among others and becomes the last."""
        name = self._node(op, inputs, **attributes)[0]
        self.last, self.last_shape = name, self.last_shape if shape is None else shape
        self.sources[name] = self.last_shape

    def _node(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> list[str]:
        import onnx

        made = [f"t{len(self.nodes)}_{index}" for index in range(outputs)]
        name = "" if self._chance(0.25) else f"{self._choose(list(NAMES))}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(op, list(inputs), made, name=name, **attributes))
        return made

    def _weight(self, value: Any, dtype: Any = np.float32, plain: bool = False) -> str:
        """A weight: an initializer, or a Constant, or an initializer behind an Identity."""
        import onnx

        name, array = f"w{len(self.weights)}_{len(self.nodes)}", np.asarray(value, dtype)
        how = self.random.random()
        if how < 0.12 and not plain and (self.opset >= 9 or dtype == np.float32):
            return self._node("Constant", [], value=onnx.numpy_helper.from_array(array, name))[0]
        self.weights[name] = array
        return self._node("Identity", [name])[0] if how > 0.93 and not plain else name

    def _floats(self, *shape: int, scale: float = 1.0) -> NDArray[np.float32]:
        return (scale * self.random.normal(size=shape)).astype(np.float32)

    def _int(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def _chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def _choose(self, options: Sequence[Any]) -> Any:
        return options[self._int(0, len(options) - 1)]

    def _axes(self, op: str, inputs: list[str], axes: list[int], since: int, **attributes: Any) -> str:
        """Operations that take their axes as an attribute before operator set `since`."""
        if self.opset < since:
            return self._node(op, inputs, axes=axes, **attributes)[0]
        return self._node(op, [*inputs, self._weight(axes, np.int64, plain=True)], **attributes)[0]

    def _conv(self) -> None:
        channels, *size = self.last_shape
        kernel = [self._int(1, min(3, length)) for length in size]
        if self.square:
            kernel = [self._choose([1, 3])] * len(size)
        out = self._choose([1, 2, 3, 4, 5, 8])
        group = channels if self._chance(0.05 if self.square else 0.25) else 1
        out = out if group == 1 else group * self._int(1, 2)
        attributes: dict[str, Any] = {}
        if not self._chance(0.2):
            attributes["kernel_shape"] = kernel
        if group > 1 or self._chance(0.2):
            attributes["group"] = group
        strides = [self._int(1, 2) for _ in size] if self._chance(0.4) else [1] * len(size)
        if self.square:
            strides = [strides[0]] * len(size)
        dilations = [1] * len(size)
        if self._chance(0.5) or strides != [1] * len(size):
            attributes["strides"] = strides
        pads = [0] * 2 * len(size)
        style = 0.0 if self.square else self.random.random()
        if style < 0.5:
            pads = [k // 2 for k in kernel] * 2
            attributes["pads"] = pads
        elif style < 0.65:
            pads = [self._int(0, k - 1) for k in kernel * 2]
            attributes["pads"] = pads
        elif style < 0.75:
            attributes["auto_pad"] = "SAME_UPPER" if self._chance(0.7) else "VALID"
        if attributes.get("auto_pad") == "SAME_UPPER":
            made = [-(-length // s) for length, s in zip(size, strides, strict=True)]
        else:
            half = len(size)
            made = [
                (size[i] + pads[i] + pads[half + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
                for i in range(half)
            ]
        fan = channels // group * int(np.prod(kernel))
        inputs = [self.last, self._weight(self._floats(out, channels // group, *kernel, scale=fan**-0.5))]
        if self._chance(0.7):
            inputs.append(self._weight(self._floats(out, scale=0.3)))
        self._add("Conv", inputs, (out, *made), **attributes)
        if self._chance(0.5):
            self._add("Relu", [self.last])

    def _conv_transpose(self) -> None:
        channels, height, width = self.last_shape
        group = channels if self._chance(0.3) else 1
        out = self._int(1, 3)
        weight = self._weight(self._floats(channels, out, 2, 2, scale=channels**-0.5))
        inputs = [self.last, weight] + ([self._weight(self._floats(out * group))] if self._chance(0.6) else [])
        shape = (out * group, height * 2, width * 2)
        self._add("ConvTranspose", inputs, shape, kernel_shape=[2, 2], strides=[2, 2], group=group)

    def _batch_norm(self) -> None:
        n = self.last_shape[0]
        values = [self._floats(n) + 1, self._floats(n), self._floats(n), np.abs(self._floats(n)) + 0.5]
        attributes = {"epsilon": 1e-3} if self._chance(0.5) else {}
        self._add("BatchNormalization", [self.last, *map(self._weight, values)], **attributes)

    def _norm(self) -> None:
        n = self.last_shape[0]
        if np.prod(self.last_shape[1:]) > 1 and self._chance(0.6):
            self._add(
                "InstanceNormalization", [self.last, self._weight(self._floats(n)), self._weight(self._floats(n))]
            )
        elif len(self.last_shape) == 3:
            self._add("LRN", [self.last], size=3)

    def _layer_norm(self) -> None:
        if self.opset >= 17 and self.last_shape[0] > 1:
            n = self.last_shape[0]
            self._add("LayerNormalization", [self.last, self._weight(self._floats(n)), self._weight(self._floats(n))])

    def _activation(self) -> None:
        known = [op for op, since in ACTIVATIONS.items() if since <= self.opset and self._may(op)]
        self._add(self._choose(known), [self.last])

    def _clip(self) -> None:
        low, high = self._choose([(0.0, 6.0), (-1.0, 1.0), (0.0, None), (None, 0.7), (0.2, 1.5), (-1.5, -0.1)])
        if self.square:
            low, high = 0.0, 6.0
        if self.opset < 11:
            bounds = {"min": low, "max": high}
            self._add("Clip", [self.last], **{key: value for key, value in bounds.items() if value is not None})
        else:
            names = ["" if value is None else self._weight(value, plain=True) for value in (low, high)]
            self._add("Clip", [self.last, *(names if names[1] else names[:1])])

    def _prelu(self) -> None:
        slope = self._floats(self.last_shape[0], *(1 for _ in self.last_shape[1:]))
        self._add("PRelu", [self.last, self._weight(slope if self._chance(0.7) else np.float32(0.2).reshape(1))])

    def _arithmetic(self) -> None:
        shapes = [(), (1,), self.last_shape[-1:], (1, *self.last_shape), self.last_shape]
        if len(self.last_shape) > 1:
            shapes += [(self.last_shape[0], *(1 for _ in self.last_shape[1:]))] * 2
        sides = [self.last, self._weight(self._floats(*self._choose(shapes)))]
        op = self._choose(["Add", "Add", "Mul", "Sub", "Div"])
        if op == "Div":
            sides[1] = self._weight(np.abs(self._floats(*self._choose(shapes))) + 0.5)
        elif self._chance(0.3):
            sides.reverse()
        self._add(op, sides)

    def _residual(self) -> None:
        twins = [name for name, shape in self.sources.items() if shape == self.last_shape]
        op = self._choose(["Add", "Add", "Mul", "Sub", "Max", "Min"])
        if op in ("Max", "Min") and self.opset < 8:
            op = "Add"
        self._add(op, [self.last, self._choose(twins)])

    def _pool(self) -> None:
        channels, *size = self.last_shape
        kernel = [min(2, length) for length in size]
        made = tuple(length // k for length, k in zip(size, kernel, strict=True))
        op = self._choose(["MaxPool", "MaxPool", "AveragePool"])
        self._add(op, [self.last], (channels, *made), kernel_shape=kernel, strides=kernel)

    def _pool_away(self) -> None:
        if len(self.last_shape) == 1:
            self._dense()
        elif self._chance(0.7) or not self._may("GlobalMaxPool"):
            self._add("GlobalAveragePool", [self.last], (self.last_shape[0], *(1 for _ in self.last_shape[1:])))
        else:
            self._add("GlobalMaxPool", [self.last], (self.last_shape[0], *(1 for _ in self.last_shape[1:])))

    def _reduce(self) -> None:
        channels, *size = self.last_shape
        op = self._choose(["ReduceMean", "ReduceSum", "ReduceMax"])
        axes = list(range(2, 2 + len(size))) if self._chance(0.6) else [-1] if self.opset >= 11 else [len(size) + 1]
        since = 13 if op == "ReduceSum" else 18
        shape = [1 if axis + 2 in axes or (axis == len(size) - 1 and -1 in axes) else n for axis, n in enumerate(size)]
        self.last = self._axes(op, [self.last], axes, since, keepdims=1)
        self.last_shape = self.sources[self.last] = (channels, *shape)

    def _slice(self) -> None:
        axis = self._int(0, len(self.last_shape) - 1)
        length = self.last_shape[axis]
        start = self._int(0, min(1, length - 1))
        end = self._choose([length, 2**31 - 1, length + 5])
        shape = tuple(n - start if at == axis else n for at, n in enumerate(self.last_shape))
        if self.opset < 10:
            self._add("Slice", [self.last], shape, starts=[start], ends=[end], axes=[axis + 1])
        else:
            values = [self._weight([value], np.int64, plain=True) for value in (start, end, axis + 1)]
            self._add("Slice", [self.last, *values], shape)

    def _pad(self) -> None:
        rank = len(self.last_shape)
        front, back = ([0, *(self._int(0, 1) if at or rank == 1 else 0 for at in range(rank))] for _ in range(2))
        shape = tuple(n + f + b for n, f, b in zip(self.last_shape, front[1:], back[1:], strict=True))
        if self.opset < 11:
            self._add("Pad", [self.last], shape, pads=front + back, mode="constant", value=0.0)
        else:
            self._add("Pad", [self.last, self._weight(front + back, np.int64, plain=True)], shape)

    def _split(self) -> None:
        channels = self.last_shape[0]
        if channels < 2:
            return
        parts = [channels // 2, channels - channels // 2]
        if self.opset < 13:
            made = self._node("Split", [self.last], 2, axis=1, split=parts)
        else:
            made = self._node("Split", [self.last, self._weight(parts, np.int64, plain=True)], 2, axis=1)
        self._add("Concat", [made[1], made[0]] if self._chance(0.6) else [made[0], made[0], made[1]], axis=1)
        if len(self.nodes[-1].input) == 3:
            self.last_shape = (channels + parts[0], *self.last_shape[1:])
            self.sources[self.last] = self.last_shape

    def _unsqueezed(self) -> None:
        """An axis more, something elementwise, and the axis gone again."""
        shape = self.last_shape
        inner = self._axes("Unsqueeze", [self.last], [1], 13)
        inner = self._node("Relu" if self._chance(0.5) else "Neg", [inner])[0]
        self.last = self._axes("Squeeze", [inner], [1], 13)
        self.sources[self.last] = shape

    def _transpose_twice(self) -> None:
        rank = len(self.last_shape) + 1
        perm = [0, *(1 + int(axis) for axis in self.random.permutation(rank - 1))]
        back = [perm.index(axis) for axis in range(rank)]
        inner = self._node("Transpose", [self.last], perm=perm)[0]
        inner = self._node("Tanh", [inner])[0] if self._chance(0.7) else inner
        self._add("Transpose", [inner], perm=back)

    def _reshape_twice(self) -> None:
        """Flat and back; the batch as 0, as -1, or computed from the shape."""
        shape, size = self.last_shape, int(np.prod(self.last_shape))
        inner = self._node("Reshape", [self.last, self._weight([-1, size], np.int64, plain=True)])[0]
        inner = self._node("Relu", [inner])[0]
        if self._chance(0.5):
            target = self._weight([self._choose([0, -1]), *shape], np.int64, plain=True)
        else:
            dims = self._node("Shape", [self.last])[0]
            first = self._node("Gather", [dims, self._weight([0], np.int64, plain=True)], axis=0)[0]
            target = self._node("Concat", [first, self._weight(shape, np.int64, plain=True)], axis=0)[0]
        self._add("Reshape", [inner, target])

    def _resize(self) -> None:
        channels, height, width = self.last_shape
        shape = (channels, 2 * height, 2 * width)
        scales = self._weight([1, 1, 2, 2], np.float32, plain=True)
        if self.opset < 9:
            self._add("Upsample", [self.last], shape, mode="nearest", scales=[1.0, 1.0, 2.0, 2.0])
        elif self.opset < 10:
            self._add("Upsample", [self.last, scales], shape, mode="nearest")
        elif self.opset < 11:
            self._add("Resize", [self.last, scales], shape, mode="nearest")
        else:
            empty = self._weight(np.zeros(0), plain=True) if self.opset < 13 else ""
            kind = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", "mode": "nearest"}
            self._add("Resize", [self.last, empty, scales], shape, **kind)

    def _depth_to_space(self) -> None:
        channels, height, width = self.last_shape
        if channels % 4 == 0:
            self._add("DepthToSpace", [self.last], (channels // 4, 2 * height, 2 * width), blocksize=2)

    def _identity(self) -> None:
        self._add("Identity", [self.last])

    def _dropout(self) -> None:
        """As in evaluation, where it does nothing."""
        if self.opset < 12:
            self._add("Dropout", [self.last], ratio=0.5)
        else:
            self._add("Dropout", [self.last, *([self._weight(0.5, plain=True)] if self._chance(0.5) else [])])

    def _cast(self) -> None:
        """To float, which it is; or to float16 or double, and back."""
        if self._chance(0.6):
            self.last = self._node("Cast", [self.last], to=self._choose([10, 11]))[0]
        self._add("Cast", [self.last], to=1)

    def _computed_weight(self) -> None:
        """An Add of what is computed from constants."""
        shape = self.last_shape if self._chance(0.5) else ()
        made = self._node("Mul", [self._weight(self._floats(*shape)), self._weight(self._floats(*shape))])[0]
        self._add("Add", [self.last, made])

    def _branches(self) -> dict[str, Any]:
        """Of an If over the last tensor; both name their tensors alike, and have a weight of their own."""
        import onnx

        graphs = []
        for name, op in (("then", "Relu"), ("else", "Tanh")):
            two = onnx.numpy_helper.from_array(np.float32(2.0).reshape(1), "two")
            doubled = onnx.helper.make_node("Mul", [self.last, "two"], ["doubled"])
            made = onnx.helper.make_node(op, ["doubled"], ["made"])
            port = onnx.helper.make_tensor_value_info("made", 1, None)
            graphs.append(onnx.helper.make_graph([doubled, made], name, [], [port], [two]))
        return {"then_branch": graphs[0], "else_branch": graphs[1]}

    def _constant_if(self) -> None:
        if self.opset < 9:
            return
        condition = self._weight(self._choose([True, False]), np.bool_)
        if self._chance(0.3):
            condition = self._node("Not", [condition])[0]
        self._add("If", [condition], **self._branches())

    def _shape_if(self) -> None:
        """The condition follows from a shape, and is true for every batch."""
        if self.opset < 9:
            return
        size = self._node("Size", [self.last])[0]
        condition = self._node("Greater", [size, self._weight(0, np.int64, plain=True)])[0]
        self._add("If", [condition], **self._branches())

    def _empty_part(self) -> None:
        bounds = [0, 0, 1]
        if self.opset < 10:
            none = self._node("Slice", [self.last], starts=[0], ends=[0], axes=[1])[0]
        else:
            none = self._node("Slice", [self.last, *(self._weight([v], np.int64, plain=True) for v in bounds)])[0]
        if self._chance(0.4):
            none = self._node("Relu", [none])[0]
        parts = [none, self.last] if self._chance(0.5) else [self.last, none, none]
        self._add("Concat", parts, axis=1)

    def _dense(self, outputs: int = 0) -> None:
        inner, outputs = self.last_shape[0], outputs or self._choose([1, 3, 4, 8, 16])
        weight = self._floats(inner, outputs, scale=inner**-0.5)
        if self._chance(0.5):
            attributes: dict[str, Any] = {}
            if self._chance(0.6):
                attributes["transB"] = 1
                weight = np.ascontiguousarray(weight.T)
            if self._chance(0.3):
                attributes |= {"alpha": 0.5, "beta": self._choose([1.0, 2.0])}
            shape = self._choose([(outputs,), (outputs,), (1, outputs), (1,), (), (1, 1)])
            bias = [self._weight(self._floats(*shape))] if self.opset < 11 or self._chance(0.85) else []
            self._add("Gemm", [self.last, self._weight(weight), *bias], (outputs,), **attributes)
            return
        self._add("MatMul", [self.last, self._weight(weight)], (outputs,))
        if self._chance(0.7):
            bias = self._weight(self._floats(*self._choose([(outputs,), (1, outputs), (1,), ()])))
            self._add("Add", [self.last, bias] if self._chance(0.7) else [bias, self.last])

    def _head(self) -> None:
        if len(self.last_shape) > 1 and self._chance(0.5):
            self._pool_away()
        if len(self.last_shape) > 1:
            size = int(np.prod(self.last_shape))
            how = self._int(0, 2)
            if how == 0:
                self._add("Flatten", [self.last], (size,))
            elif how == 1 or size != self.last_shape[0]:
                self._add("Reshape", [self.last, self._weight([-1, size], np.int64, plain=True)], (size,))
            else:
                self.last = self._axes("Squeeze", [self.last], list(range(2, len(self.last_shape) + 1)), 13)
                self.last_shape = self.sources[self.last] = (size,)
        if self._chance(0.4):
            self._dense()
            self._add("Relu", [self.last])
        self._dense(self.classes)
        ends = [op for op in ("Softmax", "LogSoftmax", "Sigmoid") if self._may(op)]
        if self._chance(0.25) and ends:
            self._add(self._choose(ends), [self.last])
        self.nodes[-1].output[0] = "y"
