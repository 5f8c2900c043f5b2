"""What a quantized model means, computed in NumPy: no kernel of onnxruntime takes part.

A dequantized value is an integer times its scale. Products and sums of them are taken in float64, which holds the
integer sums of these small models exactly, and QuantizeLinear rounds half to even, as ONNX defines it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]


def outputs(model: Any, x: Array) -> Array:
    """The first output of a model with quantize/dequantize nodes for an input (N, ...)."""
    values: dict[str, Array] = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    values[model.graph.input[0].name] = x
    for node in model.graph.node:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        inputs = [values.get(name) for name in node.input]
        values[node.output[0]] = OPERATORS[node.op_type](attributes, *inputs)
    return values[model.graph.output[0].name]


def along(parameter: Array, axis: int, rank: int) -> Array:
    """A scale or zero point, to be broadcast along its axis."""
    return parameter if parameter.ndim == 0 else parameter.reshape([-1 if each == axis else 1 for each in range(rank)])


def quantize(attributes: Mapping[str, Any], x: Array, scale: Array, zero: Array) -> Array:
    limits = np.iinfo(zero.dtype)
    axis = attributes.get("axis", 1)
    # the quotient of float32 numbers is rounded to float32 before it is rounded to an integer
    quotient = (x.astype(np.float32) / along(scale, axis, x.ndim)).astype(np.float32)
    shifted = np.rint(quotient).astype(np.float64) + along(zero, axis, x.ndim).astype(np.float64)
    return np.clip(shifted, limits.min, limits.max).astype(zero.dtype)


def dequantize(attributes: Mapping[str, Any], x: Array, scale: Array, zero: Array | None = None) -> Array:
    axis = attributes.get("axis", 1)
    shift = 0 if zero is None else along(zero, axis, x.ndim).astype(np.float64)
    return (x.astype(np.float64) - shift) * along(scale, axis, x.ndim).astype(np.float64)


def windows(attributes: Mapping[str, Any], x: Array, kernel: tuple[int, ...], fill: float) -> Array:
    """(N, C, H, W, kh, kw) of a padded input."""
    top, left, bottom, right = attributes.get("pads", [0] * 4)
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    rows, columns = attributes.get("strides", [1, 1])
    return sliding_window_view(padded, kernel, axis=(2, 3))[:, :, ::rows, ::columns]


def conv(attributes: Mapping[str, Any], x: Array, w: Array, bias: Array | None = None) -> Array:
    groups = attributes.get("group", 1)
    assert set(attributes.get("dilations", [1])) == {1}
    patches = windows(attributes, x, w.shape[2:], 0.0)
    parts = [
        np.einsum("nchwij,ocij->nohw", part, weights)
        for part, weights in zip(np.split(patches, groups, axis=1), np.split(w, groups), strict=True)
    ]
    sums = np.concatenate(parts, axis=1)
    return sums if bias is None else sums + bias.reshape(1, -1, 1, 1)


def gemm(attributes: Mapping[str, Any], a: Array, b: Array, c: Array | None = None) -> Array:
    product = a @ (b.T if attributes.get("transB") else b)
    return product if c is None else product + c


def max_pool(attributes: Mapping[str, Any], x: Array) -> Array:
    assert not attributes.get("ceil_mode")
    return windows(attributes, x, tuple(attributes["kernel_shape"]), -np.inf).max(axis=(-1, -2))


def average_pool(attributes: Mapping[str, Any], x: Array) -> Array:
    assert not any(attributes.get("pads", [])) and not attributes.get("ceil_mode")
    return windows(attributes, x, tuple(attributes["kernel_shape"]), 0.0).mean(axis=(-1, -2))


def log_softmax(attributes: Mapping[str, Any], x: Array) -> Array:
    axis = attributes.get("axis", -1)
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


OPERATORS: dict[str, Callable[..., Array]] = {
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": lambda attributes, a, b: a @ b,
    "Add": lambda attributes, a, b: a + b,
    "Relu": lambda attributes, x: np.maximum(x, 0),
    "MaxPool": max_pool,
    "GlobalAveragePool": lambda attributes, x: x.mean(axis=(2, 3), keepdims=True),
    "ReduceMean": lambda attributes, x, axes: x.mean(axis=tuple(axes), keepdims=bool(attributes.get("keepdims", 1))),
    "Sigmoid": lambda attributes, x: 1 / (1 + np.exp(-x)),
    "AveragePool": average_pool,
    "LogSoftmax": log_softmax,
    "Flatten": lambda attributes, x: x.reshape(len(x), -1),
    "Reshape": lambda attributes, x, shape: x.reshape([len(x), *shape[1:]]),
}
