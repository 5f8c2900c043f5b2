"""Weight rounding that is learned on the calibration samples, by GPTQ.

To the nearest integer is the best that can be done for a weight alone, not for a layer: what one weight loses, others
that read inputs like its own can make up for. GPTQ rounds the weights of a row one after the other, and after each one
moves those that are left so that the squared error of the row's outputs, w'·X - w·X, grows least. See Frantar et al.,
"GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (2022), algorithm 1. Inputs are as
integers hold them. Scales stay what they are, so no product gets larger than the target allows.

A row (an output channel) for which that ends further off than the nearest integers, on these samples, keeps those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.common.int8 import activation_ranges
from recast.stages.common.int8.int8_pairs import Pairs
from recast.stages.common.onnx_models import onnx_files, onnx_shapes
from recast.stages.common.onnx_models.patches import patches_at
from recast.stages.common.samples import Taken

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = ("Conv", "Gemm", "MatMul")
PLACES = 64
"""of each sample that a convolution or a sequence is looked at, evenly drawn; there are as many rows in its error"""
BLOCK = 1024
"""weights of a row that make up for each other; what lies further apart is rounded by itself"""
DAMPING = 0.01
"""of the mean of the diagonal, added to it, as in the paper"""


@dataclass(frozen=True)
class Layer:
    """A node with integer weights, and what they are multiplied with."""

    node: Any
    weight: NDArray[Any]
    groups: int

    def rows(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Weights (groups, outputs of a group, inputs of an output), of an array of the weight's shape."""
        if self.node.op_type == "Conv":
            return weight.reshape(self.groups, len(weight) // self.groups, -1)
        return (weight if self._transposed else weight.T)[None]

    def back(self, rows: NDArray[Any]) -> NDArray[Any]:
        """What `rows` was made of."""
        if self.node.op_type == "Conv":
            return rows.reshape(self.weight.shape)
        found: NDArray[Any] = rows[0] if self._transposed else rows[0].T
        return found

    def inputs(self, x: NDArray[Any]) -> NDArray[Any]:
        """Inputs (groups, places, inputs of an output) of the samples x (N, ...)."""
        import numpy as np

        if self.node.op_type != "Conv":
            each = x.reshape(len(x), -1, x.shape[-1])
            few = each[:, drawn(each.shape[1])]
            return few.reshape(1, -1, x.shape[-1])
        padded, places = self._windows(x)
        seen = padded.reshape(len(x), -1)[:, places]
        grouped = seen.reshape(len(x), seen.shape[1], self.groups, -1)
        return np.moveaxis(grouped, 2, 0).reshape(self.groups, len(x) * seen.shape[1], -1)

    def _windows(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The padded samples, and which numbers of one each window sees that is drawn (drawn, channels x kernel)."""
        import numpy as np
        from onnx import helper

        kernel = self.weight.shape[2:]
        given = {one.name: helper.get_attribute_value(one) for one in self.node.attribute}
        strides, dilations = (given.get(name) or [1] * len(kernel) for name in ("strides", "dilations"))
        reach = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
        stated = {
            "auto_pad": given.get("auto_pad", b"NOTSET").decode(),
            "pads": given.get("pads"),
            "strides": strides,
            "kernel_shape": reach,
        }
        pads = [onnx_shapes.pool_axis(stated, axis, length)[0] for axis, length in enumerate(x.shape[2:])]
        padded = np.pad(x, [(0, 0), (0, 0), *((max(0, before), max(0, after)) for before, after in pads)])
        return padded, patches_at(drawn, padded.shape[1:], kernel, strides, dilations)

    @property
    def _transposed(self) -> bool:
        return any(one.name == "transB" and one.i for one in self.node.attribute)


def learn(
    model: onnx_files.Model,
    int8: onnx_files.Model,
    bounds: tuple[int, int],
    taken: Taken,
    batch_size: int,
    threads: int,
) -> dict[str, NDArray[Any]]:
    """Initializer of the int8 model -> its integers, of the same shape and type, for layers that gain by it.

    `int8` is the float model with pairs; `bounds` are the lowest and highest integer of weights; samples are
    (N, *shape). Layers are convolutions and products with constant weights that no other node reads.
    """
    pairs = Pairs(int8)
    layers = {layer.node.name: layer for layer in layers_of(model, pairs)}
    squares = dict(_squares(model, layers, pairs, taken, batch_size, threads))
    found = {}
    for name, square in squares.items():
        layer, integers = layers[name], pairs.integers_of(name)
        broadcast = [layer.rows(_whole(one, integers.values)) for one in (integers.scale, integers.zero)]
        scale, zero = (one[:, :, :1] for one in broadcast)  # of a row
        made = _rounded(layer.rows(layer.weight), layer.rows(integers.values), scale, zero, square, bounds)
        if (made != layer.rows(integers.values)).any():
            found[integers.name] = layer.back(made).astype(integers.values.dtype)
    return found


def put(int8: onnx_files.Model, learned: dict[str, NDArray[Any]]) -> None:
    """Put the integers there into the int8 model."""
    from onnx import numpy_helper

    for one in int8.graph.initializer:
        if one.name in learned:
            one.CopyFrom(numpy_helper.from_array(learned[one.name], one.name))


def layers_of(model: onnx_files.Model, pairs: Pairs) -> Iterator[Layer]:
    """Those whose weights can be rounded otherwise."""
    from onnx import numpy_helper

    weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    readers = [name for node in model.graph.node for name in node.input]
    for node in model.graph.node:
        if node.op_type not in KINDS or node.input[1] not in weights or readers.count(node.input[1]) > 1:
            continue
        attributes = {one.name: one for one in node.attribute}
        weight = weights[node.input[1]]
        if not pairs.has(node.name) or ("transA" in attributes and attributes["transA"].i):
            continue
        if node.op_type == "Conv" or weight.ndim == 2:
            yield Layer(node, weight, attributes["group"].i if "group" in attributes else 1)


def _squares(
    model: onnx_files.Model,
    layers: dict[str, Layer],
    pairs: Pairs,
    taken: Taken,
    batch_size: int,
    threads: int,
) -> Iterator[tuple[str, list[list[NDArray[Any]]]]]:
    """Layer -> XᵀX of its inputs, for each group, for each block of weights."""
    import numpy as np

    watched = activation_ranges.Watched(model, threads)
    size = min(batch_size, watched.affordable(taken))
    readers: dict[str, list[str]] = {}
    for name, layer in layers.items():
        readers.setdefault(layer.node.input[0], []).append(name)
    sums: dict[str, list[list[NDArray[Any]]]] = {}
    for tensor, values in watched.values(taken, size, "learn the rounding of weights"):
        for name in readers.get(tensor, ()):
            rounding = pairs.input_of(name)
            x = values if rounding is None else rounding.rounded(values)
            seen = layers[name].inputs(x.astype(np.float32))
            blocks = [[group[:, of] for of in _blocks(group.shape[1])] for group in seen]
            products = [[(one.T @ one).astype(np.float64) for one in group] for group in blocks]
            known = sums.setdefault(name, [[np.zeros_like(one) for one in group] for group in products])
            for group, more in zip(known, products, strict=True):
                for one, product in zip(group, more, strict=True):
                    one += product
    yield from sums.items()


def _rounded(
    weight: NDArray[Any],
    nearest: NDArray[Any],
    scale: NDArray[Any],
    zero: NDArray[Any],
    squares: list[list[NDArray[Any]]],
    bounds: tuple[int, int],
) -> NDArray[Any]:
    """Integers (groups, outputs, inputs); scale and zero are (groups, outputs, 1)."""
    import numpy as np

    made = nearest.astype(np.int32)
    for group, blocks in enumerate(squares):
        for of, square in zip(_blocks(weight.shape[2]), blocks, strict=True):
            exact = weight[group][:, of].astype(np.float64) / scale[group] + zero[group]
            found, usual = _gptq(exact, square, bounds), nearest[group][:, of]
            better = _lost(found - exact, square) < _lost(usual - exact, square)
            made[group][:, of] = np.where(better[:, None], found, usual)
    return made


def _gptq(exact: NDArray[Any], square: NDArray[Any], bounds: tuple[int, int]) -> NDArray[Any]:
    """Integers for a row's weights in steps (outputs, inputs), of which `square` (inputs, inputs) is the XᵀX."""
    import numpy as np

    diagonal = np.diag(square)
    damped = square + np.diag(np.where(diagonal > 0, DAMPING * diagonal.mean(), 1.0))  # of an input always zero: alone
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    left = exact.copy()
    made = np.empty_like(exact)
    for index in range(exact.shape[1]):
        made[:, index] = np.clip(np.rint(left[:, index]), *bounds)
        lost = (left[:, index] - made[:, index]) / upper[index, index]
        left[:, index + 1 :] -= lost[:, None] * upper[index, index + 1 :]
    return made


def _lost(error: NDArray[Any], square: NDArray[Any]) -> NDArray[Any]:
    """The squared error of each row's outputs (outputs,)."""
    import numpy as np

    found: NDArray[Any] = np.einsum("oi,oi->o", error @ square, error)
    return found


def _whole(along: NDArray[Any], of: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    return np.broadcast_to(along, of.shape)


def _blocks(size: int) -> list[slice]:
    return [slice(first, min(first + BLOCK, size)) for first in range(0, size, BLOCK)]


def drawn(count: int) -> NDArray[Any]:
    """Indices of PLACES of so many, evenly drawn, or of all."""
    import numpy as np

    return np.arange(count) if count <= PLACES else np.linspace(0, count - 1, PLACES).astype(np.intp)
