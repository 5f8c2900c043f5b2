# environment: onnx
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.common.onnx_models import saturation
from tests.lib import run_onnx_session, without_vnni
from tests.lib.onnx_models import initializer, model

node = onnx.helper.make_node
STREAM = np.random.default_rng(5)


def quantized(name: str, kind: Any, scale: float) -> tuple[list[Any], list[Any]]:
    """QuantizeLinear and DequantizeLinear of `name` to `name`_d, by way of `name`_q."""
    parts = [f"{name}_scale", f"{name}_zero"]
    pair = [
        node("QuantizeLinear", [name, *parts], [f"{name}_q"]),
        node("DequantizeLinear", [f"{name}_q", *parts], [f"{name}_d"]),
    ]
    return pair, [initializer(parts[0], scale), initializer(parts[1], 128 if kind is np.uint8 else 0, kind)]


def layer(op: str, values: Any, shape: tuple[int, ...], activation: Any = np.uint8, **attributes: Any) -> Any:
    """image, quantized -> op with these integers as weights -> scores, quantized."""
    values = np.asarray(values)
    (given, given_weights), (made, made_weights) = (
        quantized("image", activation, 1 / 128),
        quantized("out", activation, 0.05),
    )
    nodes = [
        *given,
        node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_d"]),
        node(op, ["image_d", "w_d"], ["out"], f"the_{op}", **attributes),
        *made,
        node("Identity", ["out_d"], ["scores"]),
    ]
    zero = initializer("w_zero", 0 if values.dtype == np.int8 else 128, values.dtype)
    weights = [initializer("w", values, values.dtype), initializer("w_scale", 1 / 64), zero]
    return model(nodes, [*weights, *given_weights, *made_weights], shape)


def dense(rows: Any, kind: Any = np.int8) -> Any:
    """A Gemm whose output channels have these weights."""
    return layer("Gemm", np.array(rows, kind), (4, len(rows[0])), transB=1)


def sums(made: Any) -> list[int]:
    return [product.sum for product in saturation.products(made)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([64, 64, 64, -64], []),
        ([64, 0, 65, -64], [129 * 255]),
        ([127, 1, -127, -1], []),
        ([127, 2, 0, 0], [129 * 255]),
        ([-128, 0, 100, 28], []),
        ([-127, 0, 0, -2], [-129 * 255]),
        ([-127, 127, 127, -127], [-254 * 255]),
        ([127], []),
    ],
)
def test_a_sum_of_any_two_products_of_a_channel_counts(row: list[int], expected: list[int]) -> None:
    assert sums(dense([row])) == expected
    # two weights of different channels are never added
    assert sums(dense([row, [0] * len(row)])) == expected
    assert sums(dense([[100] + [0] * (len(row) - 1), row])) == expected


def test_channels_are_those_of_the_operator() -> None:
    """Two weights of 127 in a column: one output channel has both, or two have one each."""
    column = np.zeros((4, 4), np.int8)
    column[:2, 0] = 127
    unsafe = [254 * 255]
    assert sums(layer("MatMul", column, (2, 4))) == unsafe
    assert sums(layer("MatMul", column.T, (2, 4))) == []
    assert sums(layer("MatMul", np.stack([column.T, column]), (2, 2, 4))) == unsafe
    assert sums(layer("Gemm", column, (2, 4))) == unsafe
    assert sums(layer("Gemm", column, (2, 4), transB=1)) == []
    assert sums(layer("Conv", column.reshape(4, 4, 1, 1), (1, 4, 5, 5))) == []
    assert sums(layer("Conv", column.T.reshape(4, 4, 1, 1), (1, 4, 5, 5))) == unsafe
    assert sums(layer("Conv", column.T.reshape(4, 1, 2, 2), (1, 4, 5, 5), group=4)) == unsafe


def test_weights_that_are_moved_count_as_one_channel() -> None:
    made = layer("MatMul", 127 * np.eye(4, dtype=np.int8), (2, 4))
    next(each for each in made.graph.node if each.op_type == "MatMul").input[1] = "moved"
    made.graph.node.insert(3, node("Transpose", ["w_d"], ["moved"]))
    assert sums(made) == [254 * 255]


def test_uint8_weights_and_float_layers_never_saturate() -> None:
    assert sums(dense([[255, 255, 0, 0]], np.uint8)) == []
    made = dense([[127, 127, 0, 0]])
    next(each for each in made.graph.node if each.op_type == "Gemm").input[0] = "image"
    assert sums(made) == []


def product_of_activations(kind: Any) -> Any:
    (given, given_weights), (made, made_weights) = quantized("image", kind, 1 / 64), quantized("out", kind, 0.5)
    nodes = [
        *given,
        node("Transpose", ["image_d"], ["other"], perm=[1, 0]),
        node("MatMul", ["image_d", "other"], ["out"], "scores_of_pairs"),
        *made,
        node("Identity", ["out_d"], ["scores"]),
    ]
    return model(nodes, [*given_weights, *made_weights], (6, 8))


def test_a_product_of_int8_activations_has_no_bound() -> None:
    (found,) = saturation.products(product_of_activations(np.int8))
    assert str(found) == "node 'scores_of_pairs' (MatMul: its second operand is an int8 activation)"
    assert saturation.products(product_of_activations(np.uint8)) == []


def integer_product(op: str, weight: Any) -> Any:
    """A model that holds an integer product itself, as one that was quantized elsewhere may."""
    (given, given_weights), ends = quantized("image", np.uint8, 1 / 64), ["out_scale", "out_zero"]
    scales = {"QLinearMatMul": ["image_q", "image_scale", "image_zero", "w", "w_scale", "w_zero", *ends]}
    inputs = scales.get(op, ["image_q", "w", "image_zero", "w_zero"])
    nodes = [given[0], node(op, inputs, ["out"], "product"), node("Cast", ["out"], ["scores"], to=1)]
    held = [initializer("out_scale", 0.5), initializer("out_zero", 0, np.uint8), initializer("w_scale", 0.1)]
    zero = initializer("w_zero", 0, weight.dtype)
    return model(nodes, [*given_weights, *held, zero, initializer("w", weight, weight.dtype)], (3, 4))


@pytest.mark.parametrize("op", ["MatMulInteger", "QLinearMatMul"])
def test_integer_products_of_an_imported_model_count(op: str) -> None:
    column = np.full((4, 2), 100, np.int8)
    (found,) = saturation.products(integer_product(op, column))
    assert (found.node, found.op, found.sum) == ("product", op, 200 * 255)
    assert saturation.products(integer_product(op, column // 2)) == []
    assert saturation.products(integer_product(op, column.astype(np.uint8))) == []


def test_the_body_of_a_branch_is_looked_at() -> None:
    inner = dense([[127, 127, 0, 0]])
    branch = onnx.helper.make_graph(
        [each for each in inner.graph.node if each.op_type != "Identity"], "branch", [], [inner.graph.output[0]]
    )
    branch.output[0].name = "out_d"
    outer = model(
        [node("If", ["yes"], ["scores"], then_branch=branch, else_branch=branch)],
        [*inner.graph.initializer, initializer("yes", True, np.bool_)],
        (4, 4),
    )
    assert sums(outer) == [254 * 255] * 2


def random_layer(number: int) -> Any:
    """An operator, its weights small or large, dense or sparse, and activations of either type."""
    stream = np.random.default_rng(number)
    limit = int(stream.choice([40, 64, 66, 90, 127]))
    shape, given, op, attributes = [
        ((8, 6, 3, 3), (1, 6, 6, 6), "Conv", {}),
        ((8, 1, 3, 3), (1, 8, 6, 6), "Conv", {"group": 8}),
        ((8, 4, 1, 1), (2, 4, 5, 5), "Conv", {}),
        ((8, 3, 2, 2), (1, 6, 5, 5), "Conv", {"group": 2, "dilations": [2, 2]}),
        ((24, 10), (3, 24), "MatMul", {}),
        ((10, 24), (3, 24), "Gemm", {"transB": 1}),
        ((24, 10), (1, 24), "Gemm", {}),
    ][number % 7]
    values = stream.integers(-limit, limit + 1, shape).astype(np.int8)
    values[stream.random(shape) < stream.choice([0.0, 0.5, 0.9])] = 0
    return layer(op, values, given, stream.choice([np.uint8, np.int8]), **attributes)


def test_what_is_proven_holds_without_vnni(tmp_path: Path) -> None:
    """Extreme inputs, on a processor that saturates: no value of a layer that passes differs; many of others do."""
    proven = {}
    for number in range(49):
        made = random_layer(number)
        path = tmp_path / f"{number:02}.onnx"
        path.write_bytes(made.SerializeToString())
        proven[path] = not saturation.products(made)
        shape = [axis.dim_value for axis in made.graph.input[0].type.tensor_type.shape.dim]
        np.save(path.with_suffix(".npy"), STREAM.choice([-1, 0.99, 0.5], (8, *shape)).astype(np.float32))
    without_vnni.python(run_onnx_session.__file__, str(tmp_path), "as_shipped")
    same = {
        path: np.array_equal(np.load(path.with_suffix(".as_shipped.npy")), run_onnx_session.outputs(path, "reference"))
        for path in proven
    }
    assert all(same[path] for path in proven if proven[path])
    assert sum(proven.values()) >= 10
    assert sum(not equal for equal in same.values()) >= 8
