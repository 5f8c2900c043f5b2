# environment: wasm
"""The fast kernels through the whole compiler, in every variant, against onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from recast.stages.compilers.onnx_c.compile import Options, generate
from recast.stages.compilers.onnx_c.kernels import winograd
from tests.lib.onnx_c.fast_graphs import VARIANTS, Array, Compiled, expected, model

STREAM = np.random.default_rng(3)


def normal(*shape: int) -> Array:
    return STREAM.normal(size=shape).astype(np.float32)


@dataclass(frozen=True)
class Conv:
    """A Conv, then a residual (a 1x1 Conv of the same input) and activations."""

    shape: tuple[int, ...]
    oc: int
    kernel: tuple[int, ...] = (3, 3)
    attributes: dict[str, Any] = field(default_factory=dict)
    residual: bool = False
    then: tuple[tuple[str, dict[str, float]], ...] = ()
    bias: bool = True

    def model(self) -> Any:
        groups = self.attributes.get("group", 1)
        constants = {"w": normal(self.oc, self.shape[1] // groups, *self.kernel)}
        if self.bias:
            constants["b"] = normal(self.oc)
        nodes = [helper.make_node("Conv", ["x", *constants], ["t0"], **self.attributes)]
        steps = list(self.then)
        if self.residual:
            constants["w1"] = normal(self.oc, self.shape[1], *(1,) * len(self.kernel))
            nodes.insert(0, helper.make_node("Conv", ["x", "w1"], ["r"]))
            nodes.append(helper.make_node("Add", ["r", "t0"], ["t1"]))
        for op, attributes in steps:
            last, new = nodes[-1].output[0], f"t{len(nodes)}"
            if op == "Gate":
                nodes += [helper.make_node("Sigmoid", [last], ["gate"]), helper.make_node("Mul", [last, "gate"], [new])]
            elif op == "Clip":
                constants["low"], constants["high"] = np.float32(attributes["low"]), np.float32(attributes["high"])
                nodes.append(helper.make_node("Clip", [last, "low", "high"], [new]))
            else:
                nodes.append(helper.make_node(op, [last], [new], **attributes))
        nodes[-1].output[0] = "y"
        return model(nodes, self.shape, constants)


CONVS = {
    "plain": Conv((1, 8, 9, 10), 16),
    "first_layer": Conv((1, 3, 17, 15), 13, attributes={"pads": [1, 1, 1, 1]}, then=(("Relu", {}),)),
    "winograd": Conv((1, 16, 12, 12), 16, attributes={"pads": [1] * 4}, residual=True, then=(("Relu", {}),)),
    "winograd_ragged": Conv((2, 19, 11, 13), 21, attributes={"pads": [1] * 4}, then=(("LeakyRelu", {"alpha": 0.2}),)),
    "winograd_two": Conv((1, 32, 6, 6), 32, attributes={"pads": [1] * 4}, bias=False),
    "asymmetric": Conv((2, 7, 9, 8), 9, (3, 2), {"pads": [0, 1, 2, 0], "strides": [2, 1]}),
    "dilated": Conv((1, 6, 12, 13), 10, attributes={"dilations": [2, 3], "pads": [2, 3, 2, 3]}, residual=True),
    "same_lower": Conv((1, 5, 8, 9), 8, attributes={"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "depthwise": Conv(
        (2, 11, 9, 9), 11, attributes={"group": 11, "pads": [1] * 4}, then=(("Clip", {"low": 0, "high": 6}),)
    ),
    "depthwise_wide": Conv((1, 8, 9, 9), 8, (5, 5), {"group": 8, "pads": [2] * 4, "strides": [2, 2]}),
    "grouped": Conv((2, 12, 7, 7), 20, attributes={"group": 4, "pads": [1] * 4}, then=(("HardSwish", {}),)),
    "multiplier": Conv((1, 5, 7, 7), 15, attributes={"group": 5}),
    "pointwise": Conv((2, 10, 5, 7), 18, (1, 1), residual=True, then=(("HardSigmoid", {"alpha": 0.3}),)),
    "gated": Conv((1, 8, 6, 6), 8, attributes={"pads": [1] * 4}, then=(("Gate", {}),)),
    "erf_after": Conv((1, 8, 6, 6), 8, attributes={"pads": [1] * 4}, residual=True, then=(("Erf", {}),)),
    "signal": Conv((2, 6, 21), 9, (5,), {"pads": [2, 1], "strides": [2]}),
}


def dense(op: str, shape: tuple[int, ...], n: int, bias: bool = False, **attributes: Any) -> Any:
    weights = normal(n, shape[-1]) if attributes.get("transB") else normal(shape[-1], n)
    constants = {"w": weights, **({"b": normal(n)} if bias else {})}
    nodes = [
        helper.make_node(op, ["x", *constants], ["t"], **attributes),
        helper.make_node("Relu", ["t"], ["y"]),
    ]
    return model(nodes, shape, constants)


def pool(op: str, shape: tuple[int, ...], **attributes: Any) -> Any:
    constants = {"axes": np.array([2, 3])} if op == "ReduceMean" else {}
    return model([helper.make_node(op, ["x", *constants], ["y"], **attributes)], shape, constants)


OTHERS = {
    "gemm": ("fast_dense", dense("Gemm", (1, 37), 45, bias=True, transB=1)),
    "gemm_scaled": ("fast_dense", dense("Gemm", (2, 20), 33, bias=True, alpha=0.5, beta=2.0)),
    "gemm_rows": ("fast_dense", dense("Gemm", (7, 19), 10, bias=True, transB=1)),
    "matmul": ("fast_dense", dense("MatMul", (2, 3, 16), 12)),
    "max_pool": ("fast_pool", pool("MaxPool", (2, 7, 9, 10), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 1])),
    "max_whole": ("fast_pool", pool("MaxPool", (1, 8, 8, 8), kernel_shape=[2, 2], strides=[2, 2])),
    "max_ceil": ("fast_pool", pool("MaxPool", (1, 5, 8, 7), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)),
    "average": ("fast_pool", pool("AveragePool", (1, 9, 7, 7), kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
    "average_padded": (
        "fast_pool",
        pool("AveragePool", (1, 4, 7, 7), kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
    ),
    "global_average": ("fast_pool", pool("GlobalAveragePool", (2, 13, 5, 6))),
    "global_max": ("fast_pool", pool("GlobalMaxPool", (2, 13, 5, 6))),
    "mean": ("fast_pool", pool("ReduceMean", (2, 10, 5, 6), keepdims=0)),
}
MODELS = {name: conv.model() for name, conv in CONVS.items()} | {name: made for name, (_, made) in OTHERS.items()}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return Compiled(MODELS, Path(tmp_path_factory.mktemp("graphs")))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", MODELS)
def test_the_output_is_that_of_onnxruntime(compiled: Compiled, name: str, variant: str) -> None:
    kernel = "fast_conv" if name in CONVS else OTHERS[name][0]
    assert kernel in compiled.kernels(name)
    assert "conv" not in compiled.kernels(name)
    shape = tuple(axis.dim_value for axis in MODELS[name].graph.input[0].type.tensor_type.shape.dim)
    x = normal(*shape)
    np.testing.assert_allclose(compiled.run(variant, name, x), expected(MODELS[name], x), rtol=1e-5, atol=5e-5)


def c_of(name: str, **options: Any) -> str:
    return generate(MODELS[name], Options(**options)).files["model.c"].decode()


@pytest.mark.parametrize(
    ("name", "call"), [("winograd", "rc_winograd_conv(4, "), ("winograd_two", "rc_winograd_conv(2, ")]
)
def test_winograd_takes_the_tile_that_fits_and_can_be_turned_off(name: str, call: str) -> None:
    assert f"  {call}" in c_of(name)
    assert "winograd" not in c_of(name, winograd=False)


def test_a_strided_convolution_is_direct() -> None:
    assert "winograd" not in c_of("asymmetric")


def test_winograd_is_left_where_its_error_would_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = normal(16, 16, 3, 3)
    errors = [winograd.relative_error(weights, tile) for tile in (2, 4)]
    assert 0 < errors[0] < errors[1] < winograd.LIMIT
    monkeypatch.setattr(winograd, "LIMIT", errors[1] / 2)
    assert "  rc_winograd_conv(4, " not in c_of("winograd")
    monkeypatch.setattr(winograd, "LIMIT", 0.0)
    assert "winograd" not in c_of("winograd")
