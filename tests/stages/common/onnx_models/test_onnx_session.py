# environment: onnx
"""What a session computes must not depend on the processor, where others are compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.common.onnx_models import onnx_session
from recast.stages.parity.metrics import difference
from tests.lib import run_onnx_session, without_vnni
from tests.lib.onnx_models import initializer, model

node = onnx.helper.make_node
STREAM = np.random.default_rng(3)
SHAPE = (16, 32)


def quantized(name: str, kind: Any, scale: float = 0.02) -> tuple[list[Any], list[Any]]:
    """QuantizeLinear and DequantizeLinear of an activation, `name` to `name`_d, the integers in `name`_q."""
    parts = [f"{name}_scale", f"{name}_zero"]
    pair = [
        node("QuantizeLinear", [name, *parts], [f"{name}_q"]),
        node("DequantizeLinear", [f"{name}_q", *parts], [f"{name}_d"]),
    ]
    return pair, [initializer(parts[0], scale), initializer(parts[1], 128 if kind is np.uint8 else 0, kind)]


def chain(nodes: list[Any], weights: list[Any], last: str, kind: Any) -> Any:
    """image (16, 32), quantized, through the nodes, which read image_d or image_q, to a quantized `last`."""
    (given, given_weights), (made, made_weights) = quantized("image", kind), quantized(last, kind, 0.5)
    return model(
        [*given, *nodes, *made, node("Identity", [f"{last}_d"], ["scores"])],
        [*weights, *given_weights, *made_weights],
        SHAPE,
    )


def weight() -> list[Any]:
    values = STREAM.integers(-127, 128, (32, 8))
    return [initializer("w", values, np.int8), initializer("ws", 0.02), initializer("wz", 0, np.int8)]


def of_weights() -> Any:
    nodes = [node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]), node("MatMul", ["image_d", "wd"], ["m"])]
    return chain(nodes, weight(), "m", np.uint8)


def of_int8_activations() -> Any:
    """The second operand has two readers, so that onnxruntime leaves it int8 beside a uint8 first one."""
    quantized_k, weights_k = quantized("k", np.int8)
    quantized_q, weights_q = quantized("q", np.int8)
    quantized_r, weights_r = quantized("r", np.int8)
    nodes = [
        node("Transpose", ["image_d"], ["k"], perm=[1, 0]),
        *quantized_k,
        node("Relu", ["image_d"], ["q"]),
        *quantized_q,
        node("Neg", ["image_d"], ["r"]),
        *quantized_r,
        node("MatMul", ["q_d", "k_d"], ["qk"]),
        node("MatMul", ["r_d", "k_d"], ["rk"]),
        *(both := quantized("qk", np.int8, 0.5))[0],
        *(other := quantized("rk", np.int8, 0.5))[0],
        node("Add", ["qk_d", "rk_d"], ["m"]),
    ]
    return chain(nodes, [*weights_k, *weights_q, *weights_r, *both[1], *other[1]], "m", np.int8)


def of_moved_activations() -> Any:
    """The second operand is moved after it was dequantized."""
    nodes = [node("Transpose", ["image_d"], ["k"], perm=[1, 0]), node("MatMul", ["image_d", "k"], ["m"])]
    return chain(nodes, [], "m", np.int8)


def of_integers() -> Any:
    """An imported model may hold integer products itself."""
    nodes = [
        node("MatMulInteger", ["image_q", "w", "image_zero", "wz"], ["sum"]),
        node("Cast", ["sum"], ["float"], to=onnx.TensorProto.FLOAT),
        node("Mul", ["float", "step"], ["m"]),
    ]
    return chain(nodes, [*weight(), initializer("step", 0.0004)], "m", np.uint8)


def without_products() -> Any:
    return chain([node("Relu", ["image_d"], ["m"])], [], "m", np.uint8)


def test_the_reference_is_the_same_without_vnni(tmp_path: Path) -> None:
    for made in (of_weights, of_int8_activations, of_integers):
        (tmp_path / f"{made.__name__}.onnx").write_bytes(made().SerializeToString())
        np.save(tmp_path / f"{made.__name__}.npy", STREAM.normal(0, 2, (4, *SHAPE)).astype(np.float32))
    without_vnni.python(run_onnx_session.__file__, str(tmp_path), "as_shipped", "reference")
    for path in tmp_path.glob("*.onnx"):
        shipped, reference = (np.load(path.with_suffix(f".{mode}.npy")) for mode in ("as_shipped", "reference"))
        expected = run_onnx_session.outputs(path, "reference")
        # not one value differs, while a user of that processor gets another result
        assert np.array_equal(reference, expected), path.name
        assert difference(expected, shipped).sqnr_db < 45, path.name


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (of_weights, False),
        (of_int8_activations, True),
        (of_moved_activations, True),
        (of_integers, False),
        (without_products, False),
    ],
)
def test_integer_kernels_are_left_out_where_two_int8_activations_are_multiplied(made: Any, expected: bool) -> None:
    assert onnx_session.multiplies_int8_activations(made().SerializeToString()) is expected


def test_tensors_can_be_looked_at_as_written(tmp_path: Path) -> None:
    made = of_weights()
    made.graph.output.append(onnx.helper.make_tensor_value_info("m_q", onnx.TensorProto.UINT8, [16, 8]))
    x = STREAM.normal(0, 2, SHAPE).astype(np.float32)
    session = onnx_session.start(made.SerializeToString(), 1, "as_written")
    scores, integers = session.run(None, {"image": x})
    np.testing.assert_allclose((integers.astype(np.float32) - 128) * 0.5, scores)
