"""Small random models: branches, residuals, concatenations, odd channel counts, groups, dilations, uneven padding, and
pools that round up; views of the input and of what lies between, and operations that may work in place on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.common.onnx_models import onnx_shapes

OPSET = 18
_ACTIVATIONS = (
    "Relu",
    "LeakyRelu",
    "Sigmoid",
    "Tanh",
    "HardSigmoid",
    "HardSwish",
    "Elu",
    "Erf",
    "Softplus",
    "Abs",
    "Neg",
)


class RandomGraph:
    """A model of one image input, grown node by node; what ONNX's shape inference refuses is left out again."""

    def __init__(self, seed: int, outputs: int = 3) -> None:
        """`outputs`: most of them."""
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        shape = (self._int(1, 2), self._int(1, 9), self._int(3, 12), self._int(3, 12))
        self.input_shape = shape
        self.shapes: dict[str, tuple[int, ...]] = {"image": shape}
        self.outputs: list[str] = []
        if self.random.random() < 0.5:
            self.view("image")
            self.activation(list(self.shapes)[-1])
        for _ in range(self._int(3, 9)):
            self._choose(_GROWING)(self)
        images = [name for name in self.shapes if name != "image"] or ["image"]
        self.outputs = [images[-1]]
        if len(images) > 2 and self.random.random() < 0.4:
            self.outputs.append(images[self._int(0, len(images) - 2)])
        if self.outputs != ["image"] and self.random.random() < 0.1:
            self.outputs.append("image")
        if self.random.random() < 0.5:
            self._choose(_HEADS)(self)
            self.outputs = list(dict.fromkeys([list(self.shapes)[-1], *self.outputs[1:]]))
        self.outputs = self.outputs[:outputs]

    @property
    def operators(self) -> list[str]:
        return [node.op_type for node in self.nodes]

    def model(self) -> Any:
        """The model, with static shapes."""
        import onnx

        if self.outputs == ["image"]:
            self.outputs = [self.node("Relu", ["image"])]
        ports = [onnx.helper.make_tensor_value_info(name, 1, self.shapes[name]) for name in self.outputs]
        image = onnx.helper.make_tensor_value_info("image", 1, self.input_shape)
        graph = onnx.helper.make_graph(self.nodes, "random", [image], ports, self.weights)
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)

    def image(self) -> NDArray[np.float32]:
        return self._floats(*self.input_shape)

    def node(self, op: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> str:
        """Append a node if it is valid; the name of its first output, or of its first input if it is not."""
        import onnx

        if "kernel_shape" in attributes and not self._fits(self.shapes[inputs[0]], **attributes):
            return inputs[0]
        names = [f"t{len(self.nodes)}_{index}" for index in range(outputs)]
        made = onnx.helper.make_node(op, inputs, names, **attributes)
        data = {tensor.name: tensor for tensor in self.weights}
        types = {
            name: onnx.helper.make_tensor_type_proto(data[name].data_type, data[name].dims)
            if name in data
            else onnx.helper.make_tensor_type_proto(1, self.shapes[name])
            for name in inputs
            if name
        }
        try:
            found = onnx.shape_inference.infer_node_outputs(
                onnx.defs.get_schema(op, OPSET, ""),
                made,
                types,
                {name: data[name] for name in inputs if name in data},
                opset_imports=[onnx.helper.make_opsetid("", OPSET)],
                ir_version=8,
            )
        except Exception:  # the checker raises several unrelated types
            return inputs[0]
        shapes = [tuple(axis.dim_value for axis in found[name].tensor_type.shape.dim) for name in names]
        if op in onnx_shapes.POOLS:
            given = self.shapes[inputs[0]]
            lengths = (onnx_shapes.pool_axis(attributes, axis, length)[1] for axis, length in enumerate(given[2:]))
            shapes = [(*shapes[0][:2], *lengths)]
        if any(min(shape, default=1) < 1 or np.prod(shape) > 4000 for shape in shapes):
            return inputs[0]
        self.nodes.append(made)
        self.shapes.update(zip(names, shapes, strict=True))
        return names[0]

    @staticmethod
    def _fits(shape: tuple[int, ...], kernel_shape: list[int], pads: list[int], **attributes: Any) -> bool:
        """Whether a window fits into the padded input, which shape inference does not ask."""
        dilations = attributes.get("dilations", [1, 1])
        return all(
            (kernel_shape[i] - 1) * dilations[i] < shape[2 + i] + pads[i] + pads[2 + i]
            for i in range(len(kernel_shape))
        )

    def constant(self, value: NDArray[Any]) -> str:
        import onnx

        name = f"c{len(self.weights)}"
        self.weights.append(onnx.numpy_helper.from_array(value, name))
        return name

    def pick(self) -> str:
        """One of the image tensors, the later ones more often."""
        names = [name for name, shape in self.shapes.items() if len(shape) == 4]
        return names[-1] if self.random.random() < 0.6 else names[self._int(0, len(names) - 1)]

    def _int(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def _choose(self, options: tuple[Callable[[RandomGraph], Any], ...]) -> Callable[[RandomGraph], Any]:
        return options[self._int(0, len(options) - 1)]

    def _floats(self, *shape: int) -> NDArray[np.float32]:
        return self.random.normal(size=shape).astype(np.float32)

    def window(self, kernel: list[int]) -> dict[str, Any]:
        """Random strides, dilations and pads, each pad below the window's length."""
        return {
            "strides": [self._int(1, 2), self._int(1, 2)],
            "dilations": [self._int(1, 2), self._int(1, 2)],
            "pads": [self._int(0, kernel[i % 2] - 1) for i in range(4)],
        }

    def conv(self) -> None:
        x = self.pick()
        channels = self.shapes[x][1]
        groups = self._int(1, channels) if self.random.random() < 0.4 else 1
        groups = groups if channels % groups == 0 else channels
        kernel = [self._int(1, 3), self._int(1, 3)]
        out = groups * self._int(1, 2) if groups > 1 else self._int(1, 11)
        weight = self._floats(out, channels // groups, *kernel) / np.float32(
            np.sqrt(channels // groups * np.prod(kernel))
        )
        inputs = [x, self.constant(weight)]
        if self.random.random() < 0.7:
            inputs.append(self.constant(self._floats(out)))
        same = {"pads": [k // 2 for k in kernel] * 2} if kernel[0] % 2 and kernel[1] % 2 and self._int(0, 1) else None
        y = self.node("Conv", inputs, kernel_shape=kernel, group=groups, **(same or self.window(kernel)))
        if self.random.random() < 0.3:
            self.batch_norm(y)
        if self.random.random() < 0.5:
            self.activation(y)

    def conv_transpose(self) -> None:
        x = self.pick()
        channels, kernel = self.shapes[x][1], [self._int(1, 3), self._int(1, 3)]
        groups = channels if self.random.random() < 0.3 else 1
        out = self._int(1, 5)
        weight = self._floats(channels, out, *kernel) / np.float32(np.sqrt(channels * np.prod(kernel)))
        self.node("ConvTranspose", [x, self.constant(weight), self.constant(self._floats(out * groups))],
                  kernel_shape=kernel, group=groups, **self.window(kernel))  # fmt: skip

    def batch_norm(self, x: str | None = None) -> None:
        x = x or self.pick()
        n = self.shapes[x][1]
        values = [self._floats(n), self._floats(n), self._floats(n), np.abs(self._floats(n)) + np.float32(0.5)]
        self.node("BatchNormalization", [x, *map(self.constant, values)])

    def activation(self, x: str | None = None) -> None:
        x = x or self.pick()
        chosen = self._int(0, len(_ACTIVATIONS) + 1)
        if chosen < len(_ACTIVATIONS):
            self.node(_ACTIVATIONS[chosen], [x])
        elif chosen == len(_ACTIVATIONS):
            self.node("Clip", [x, self.constant(np.array(-0.5, np.float32)), self.constant(np.array(1.5, np.float32))])
        else:
            self.node("PRelu", [x, self.constant(self._floats(self.shapes[x][1], 1, 1))])

    def residual(self) -> None:
        x = self.pick()
        twins = [name for name, shape in self.shapes.items() if shape == self.shapes[x]]
        other = twins[self._int(0, len(twins) - 1)]
        y = self.node(("Add", "Sub", "Mul", "Max", "Min")[self._int(0, 4)], [x, other])
        if self._int(0, 1):
            self.activation(y)

    def broadcast(self) -> None:
        x = self.pick()
        shape = tuple(n if self._int(0, 1) else 1 for n in self.shapes[x])[self._int(0, 3) :]
        sides = [x, self.constant(self._floats(*shape))]
        if self._int(0, 1):
            sides.reverse()
        self.node(("Add", "Sub", "Mul")[self._int(0, 2)], sides)

    def pool(self) -> None:
        kernel = [self._int(1, 3), self._int(1, 3)]
        window = self.window(kernel)
        if self._int(0, 1):
            if window["dilations"] != [1, 1]:
                window["pads"] = [0, 0, 0, 0]  # else a window may lie outside altogether
            self.node("MaxPool", [self.pick()], kernel_shape=kernel, ceil_mode=self._int(0, 1), **window)
        else:
            del window["dilations"]
            more = {"ceil_mode": self._int(0, 1), "count_include_pad": self._int(0, 1)}
            self.node("AveragePool", [self.pick()], kernel_shape=kernel, **more, **window)

    def view(self, x: str | None = None) -> None:
        """A tensor under another name or shape, by an operator that need not move anything."""
        x = x or self.pick()
        n, c, h, w = self.shapes[x]
        chosen = self._int(0, 8)
        if chosen == 0:
            flat = self.node("Flatten", [x])
            flat = self._in_between(flat)
            self.node("Reshape", [flat, self.constant(np.array([n, c, h, w]))])
        elif chosen == 1:
            self.node("Reshape", [x, self.constant(np.array([n, c, w, h]))])
        elif chosen == 2:
            wide = self._in_between(self.node("Unsqueeze", [x, self.constant(np.array([0]))]))
            self.node("Squeeze", [wide, self.constant(np.array([0]))])
        elif chosen == 3:
            self.node(("Identity", "Dropout")[self._int(0, 1)], [x])
        elif chosen == 4:
            self.node("Transpose", [x], perm=[0, 1, 2, 3])
        elif chosen == 5:
            self.node("Slice", [x, *(self.constant(np.array([value])) for value in (0, 1000, self._int(1, 3)))])
        elif chosen == 6:
            self.node("Cast", [x], to=1)
        elif chosen == 7:
            self.node("Split", [x, self.constant(np.array([c]))], axis=1)
        else:
            self.node("Concat", [x], axis=self._int(1, 3))

    def _in_between(self, x: str) -> str:
        """The tensor, or what an operation that may work in place on it makes of it."""
        return self.node(("Relu", "Neg", "Tanh", "Abs")[self._int(0, 3)], [x]) if self._int(0, 1) else x

    def concat(self) -> None:
        x = self.pick()
        n, _, h, w = self.shapes[x]
        mates = [
            name for name, shape in self.shapes.items() if len(shape) == 4 and shape[0] == n and shape[2:] == (h, w)
        ]
        self.node("Concat", [x, mates[self._int(0, len(mates) - 1)], x][: self._int(2, 3)], axis=1)

    def slice(self) -> None:
        x = self.pick()
        axis = self._int(1, 3)
        backward = self._int(0, 3) == 0
        values = (
            (self.shapes[x][axis] - 1, -100, axis, -1) if backward else (self._int(0, 1), 100, axis, self._int(1, 2))
        )
        self.node("Slice", [x, *(self.constant(np.array([value])) for value in values)])

    def split(self) -> None:
        x = self.pick()
        channels = self.shapes[x][1]
        if channels > 1:
            lengths = self.constant(np.array([channels // 2, channels - channels // 2]))
            self.node("Split", [x, lengths], outputs=2, axis=1)

    def pad(self) -> None:
        mode = ("constant", "reflect", "edge")[self._int(0, 2)]
        pads = np.array([0, 0, *(self._int(0, 2) for _ in range(2)), 0, 0, *(self._int(0, 2) for _ in range(2))])
        x = self.pick()
        # reflection needs more rows than it reflects
        if mode != "reflect" or min(self.shapes[x][2:]) > 2:
            self.node("Pad", [x, self.constant(pads)], mode=mode)

    def resize(self) -> None:
        mode = ("nearest", "linear")[self._int(0, 1)]
        coordinates = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")[self._int(0, 3)]
        scales = self.constant(np.array([1, 1, self._int(1, 3), self._int(1, 3)], np.float32))
        self.node("Resize", [self.pick(), "", scales], mode=mode, coordinate_transformation_mode=coordinates)

    def transpose(self) -> None:
        self.node("Transpose", [self.pick()], perm=[0, *(1 + int(n) for n in self.random.permutation(3))])

    def reduce(self) -> None:
        axes = self.constant(np.array([[1], [2, 3], [3]][self._int(0, 2)], np.int64))
        op = ("ReduceMean", "ReduceSum", "ReduceMax")[self._int(0, 2)]
        x = self.pick()
        y = self.node(op, [x, axes])
        if y != x:
            self.node("Mul", [x, y])

    def softmax(self) -> None:
        self.node(("Softmax", "LogSoftmax")[self._int(0, 1)], [self.pick()], axis=self._int(-1, 3))

    def layer_norm(self) -> None:
        x = self.pick()
        shape = self.shapes[x][-self._int(1, 2) :]
        parameters = [self.constant(self._floats(*shape)), self.constant(self._floats(*shape))]
        self.node("LayerNormalization", [x, *parameters], axis=-len(shape))

    def head_gemm(self) -> None:
        flat = self.node("Flatten", [self.pick()])
        inner, out = self.shapes[flat][1], self._int(1, 37)
        if len(self.shapes[flat]) == 2:
            weight = self._floats(out, inner) / np.float32(np.sqrt(inner))
            self.node("Gemm", [flat, self.constant(weight), self.constant(self._floats(out))], transB=1)

    def head_global(self) -> None:
        x = self.node(("GlobalAveragePool", "GlobalMaxPool")[self._int(0, 1)], [self.pick()])
        self.node("Squeeze", [x, self.constant(np.array([2, 3]))])

    def head_matmul(self) -> None:
        x = self.pick()
        inner = self.shapes[x][-1]
        y = self.node("MatMul", [x, self.constant(self._floats(inner, self._int(1, 6)))])
        self.node("Unsqueeze", [y, self.constant(np.array([0]))])

    def head_gather(self) -> None:
        x = self.pick()
        rows = self.random.integers(-self.shapes[x][1], self.shapes[x][1], size=(2, 2))
        self.node("Gather", [x, self.constant(rows)], axis=1)


_GROWING = (
    *(RandomGraph.conv,) * 4, RandomGraph.conv_transpose, RandomGraph.batch_norm, RandomGraph.activation,
    *(RandomGraph.residual,) * 2, RandomGraph.broadcast, *(RandomGraph.pool,) * 2, RandomGraph.concat,
    RandomGraph.slice, RandomGraph.split, RandomGraph.pad, RandomGraph.resize, RandomGraph.transpose,
    RandomGraph.reduce, RandomGraph.softmax, RandomGraph.layer_norm, *(RandomGraph.view,) * 3,
)  # fmt: skip
_HEADS = (
    *(RandomGraph.head_gemm,) * 2, RandomGraph.head_global, RandomGraph.head_matmul, RandomGraph.head_gather,
)  # fmt: skip
