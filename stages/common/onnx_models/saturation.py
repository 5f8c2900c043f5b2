"""Which products of a quantized model may saturate in onnxruntime on x86 processors without VNNI.

There the kernels for unsigned by signed 8-bit integers multiply with VPMADDUBSW: two neighbouring products are added in
16 bits, and what lies beyond is cut off. Activations are uint8 in those kernels, int8 ones too, which onnxruntime
shifts. They may take any of the 256 values, since nothing keeps a caller to the range of the calibration samples. So a
sum of two products lies between 255 (w1 + w2) of the two most negative weights and that of the two most positive ones.
Which two are neighbours depends on the kernel, so any two of an output channel count.

Products with uint8 as the second operand are added in 32 bits, everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOWEST, HIGHEST = -(2**15), 2**15 - 1
_ACTIVATION = 255
_INT8 = 3  # onnx.TensorProto.INT8
_UINT8 = 2  # onnx.TensorProto.UINT8

_OPERANDS = {
    **dict.fromkeys(("Conv", "Gemm", "MatMul"), (0, 1)),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), (0, 1)),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul"), (0, 3)),
}
"""where a node's two operands stand among its inputs"""
MOVING = (
    *("Expand", "Flatten", "Gather", "GatherElements", "Identity", "MaxPool", "Reshape", "Slice", "Split", "Squeeze"),
    *("Tile", "Transpose", "Unsqueeze"),
)
"""operators that onnxruntime moves quantization across: they choose and order values, and compute none"""


@dataclass(frozen=True)
class Product:
    """A node whose sums of two products may leave 16 bits."""

    node: str
    op: str
    sum: int
    """the sum of two products that is farthest from zero"""
    of_activations: bool
    """the second operand is int8 and no constant"""

    def __str__(self) -> str:
        """For messages."""
        reason = "its second operand is an int8 activation" if self.of_activations else f"{self.sum:,}"
        return f"node {self.node!r} ({self.op}: {reason})"


@dataclass(frozen=True)
class _Operand:
    kind: int | None
    """type of the integers; None for what is not quantized"""
    values: NDArray[np.integer[Any]] | None
    """those of a weight"""
    moved: bool = False
    """axes are not those the node sees"""


def products(model: Any) -> list[Product]:
    """The nodes of a model with quantize/dequantize nodes (or integer products) that may saturate, in running order.

    Empty means that none can, whatever the input: it is a proof, not a measurement.
    """
    return [found for graph in _graphs(model.graph) for found in _of_graph(graph, model)]


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _of_graph(graph: Any, model: Any) -> Iterator[Product]:
    constants = {weight.name: weight for weight in (*model.graph.initializer, *graph.initializer)}
    makers = {name: node for node in (*model.graph.node, *graph.node) for name in node.output}
    for node in graph.node:
        places = _OPERANDS.get(node.op_type)
        if places is None or len(node.input) <= max(places):
            continue
        first, second = (
            _operand(node.input[place], constants, makers, "Integer" in node.op_type or "QLinear" in node.op_type)
            for place in places
        )
        if first.kind is None or second.kind != _INT8:
            continue
        name = node.name or node.output[0]
        if second.values is None:
            extreme = 2 * _ACTIVATION * -128
            yield Product(name, node.op_type, extreme, of_activations=True)
            continue
        low, high = _sums(_by_channel(node, second))
        if low < LOWEST or high > HIGHEST:
            yield Product(name, node.op_type, max(low, high, key=abs), of_activations=False)


def _operand(name: str, constants: dict[str, Any], makers: dict[str, Any], integers: bool) -> _Operand:
    """What a node reads, followed back to the integers it stands for; `integers`: the node reads those themselves."""
    import onnx

    name, moved = _before_moves(name, makers)
    zero_point = None
    if not integers:
        maker = makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear":
            return _Operand(None, None)
        zero_point = maker.input[2] if len(maker.input) > 2 else ""
        name, moved_too = _before_moves(maker.input[0], makers)
        moved = moved or moved_too
    if name in constants:
        return _Operand(constants[name].data_type, onnx.numpy_helper.to_array(constants[name]), moved)
    if zero_point is None:
        zero_point = _zero_point(makers.get(name))
    if not zero_point:  # ONNX says uint8 where there is none
        return _Operand(_UINT8, None)
    # the type that may saturate where nothing says which it is
    return _Operand(int(constants[zero_point].data_type) if zero_point in constants else _INT8, None)


def _before_moves(name: str, makers: dict[str, Any]) -> tuple[str, bool]:
    """The tensor whose values these are, and whether they were moved."""
    moved = False
    while (maker := makers.get(name)) is not None and maker.op_type in MOVING:
        name, moved = maker.input[0], True
    return name, moved


def _zero_point(maker: Any) -> str:
    """Of the integers that a node makes."""
    if maker is None:
        return "unknown"
    if maker.op_type == "DynamicQuantizeLinear":
        return ""
    place = {"QuantizeLinear": 2, "QLinearConv": 7, "QLinearMatMul": 7}.get(maker.op_type)
    if place is None:
        return "unknown"
    return maker.input[place] if len(maker.input) > place else ""


def _by_channel(node: Any, weight: _Operand) -> NDArray[np.integer[Any]]:
    """The weights as (channel, products of one sum); as one channel where axes have moved."""
    import numpy as np

    values = np.asarray(weight.values)
    if weight.moved or values.ndim < 2:
        return values.reshape(1, -1)
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    if "Conv" in node.op_type or (node.op_type == "Gemm" and transposed):
        return values.reshape(len(values), -1)
    return values.swapaxes(-1, -2).reshape(-1, values.shape[-2])


def _sums(channels: NDArray[np.integer[Any]]) -> tuple[int, int]:
    """The lowest and the highest sum of two products; one of them may be absent, or zero."""
    import numpy as np

    ordered = np.sort(channels.astype(np.int64), axis=1)
    lowest = np.minimum(ordered[:, :2], 0).sum(axis=1).min(initial=0)
    highest = np.maximum(ordered[:, -2:], 0).sum(axis=1).max(initial=0)
    return int(lowest) * _ACTIVATION, int(highest) * _ACTIVATION
