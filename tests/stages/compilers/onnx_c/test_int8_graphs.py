# environment: wasm
"""QDQ models of onnxruntime's quantizer through the whole compiler, against what they mean on every processor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from recast.stages.compilers.onnx_c.compile import Options, generate
from tests.lib.onnx_c.fast_graphs import VARIANTS, Array, Compiled, expected, model

STREAM = np.random.default_rng(11)


def normal(*shape: int) -> Array:
    return STREAM.normal(size=shape).astype(np.float32)


class Samples(CalibrationDataReader):  # type: ignore[misc]
    """A few random inputs."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._left = [{"x": normal(*shape)} for _ in range(4)]

    def get_next(self) -> dict[str, Array] | None:
        return self._left.pop() if self._left else None


def conv(source: str, target: str, weights: Array, constants: dict[str, Array], **attributes: Any) -> Any:
    constants |= {f"{target}_w": weights, f"{target}_b": normal(len(weights))}
    return helper.make_node("Conv", [source, f"{target}_w", f"{target}_b"], [target], target, **attributes)


def residual() -> tuple[Any, tuple[int, ...]]:
    """A Winograd convolution, one with a residual, a strided one with a projection, a mean and a Gemm."""
    constants: dict[str, Array] = {"fc_w": normal(10, 24), "fc_b": normal(10), "axes": np.array([2, 3])}
    nodes = [
        conv("x", "c0", normal(16, 3, 3, 3), constants, pads=[1] * 4),
        helper.make_node("Relu", ["c0"], ["r0"]),
        conv("r0", "c1", normal(16, 16, 3, 3), constants, pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        conv("r1", "c2", normal(16, 16, 3, 3), constants, pads=[1] * 4),
        helper.make_node("Add", ["c2", "r0"], ["a2"]),
        helper.make_node("Relu", ["a2"], ["r2"]),
        conv("r2", "c3", normal(24, 16, 3, 3), constants, pads=[1] * 4, strides=[2, 2]),
        conv("r2", "c4", normal(24, 16, 1, 1), constants, strides=[2, 2]),
        helper.make_node("Add", ["c3", "c4"], ["a4"]),
        helper.make_node("ReduceMean", ["a4", "axes"], ["mean"], keepdims=0),
        helper.make_node("Gemm", ["mean", "fc_w", "fc_b"], ["y"], transB=1),
    ]
    return model(nodes, (1, 3, 12, 12), constants), (1, 3, 12, 12)


def separable() -> tuple[Any, tuple[int, ...]]:
    """Depthwise, pointwise, grouped and dilated convolutions of ragged channels, pools, a Flatten; batch 2."""
    constants: dict[str, Array] = {"fc_w": normal(14 * 6, 7), "fc_b": normal(7)}
    nodes = [
        conv("x", "c0", normal(10, 5, 1, 1), constants),
        helper.make_node("Clip", ["c0", "zero", "six"], ["r0"]),
        conv("r0", "c1", normal(10, 1, 3, 3), constants, group=10, pads=[1] * 4),
        helper.make_node("MaxPool", ["c1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        conv("p1", "c2", normal(14, 5, 3, 3), constants, group=2, pads=[1] * 4),
        conv("c2", "c3", normal(14, 14, 2, 2), constants, dilations=[2, 2], pads=[1] * 4),
        helper.make_node("AveragePool", ["c3"], ["p3"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p3"], ["f"]),
        helper.make_node("Gemm", ["f", "fc_w", "fc_b"], ["y"]),
    ]
    constants |= {"zero": np.float32(0), "six": np.float32(6)}
    return model(nodes, (2, 5, 8, 12), constants), (2, 5, 8, 12)


@dataclass(frozen=True)
class Quantized:
    """A QDQ model, its input's shape and the step of its output."""

    proto: Any
    shape: tuple[int, ...]
    step: float


def quantized(made: tuple[Any, tuple[int, ...]], activations: QuantType, folder: Path) -> Quantized:
    """Per channel int8 weights, as the stages of the onnxruntime target make them."""
    proto, shape = made
    folder.mkdir()
    onnx.save(proto, folder / "float.onnx")
    quantize_static(
        folder / "float.onnx",
        folder / "int8.onnx",
        Samples(shape),
        QuantFormat.QDQ,
        per_channel=True,
        activation_type=activations,
        weight_type=QuantType.QInt8,
    )
    proto = onnx.load(folder / "int8.onnx")
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in proto.graph.initializer}
    last = next(node for node in proto.graph.node if node.output[0] == "y")
    return Quantized(proto, shape, float(constants[last.input[1]]))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Quantized]:
    folder = Path(tmp_path_factory.mktemp("models"))
    found = {}
    for name, made in (("residual", residual()), ("separable", separable())):
        for kind in (QuantType.QInt8, QuantType.QUInt8):
            key = f"{name}_{kind.name.lower()}"
            found[key] = quantized(made, kind, folder / key)
    return found


@pytest.fixture(scope="module")
def compiled(models: dict[str, Quantized], tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return Compiled({name: each.proto for name, each in models.items()}, Path(tmp_path_factory.mktemp("modules")))


NAMES = [f"{name}_{kind}" for name in ("residual", "separable") for kind in ("qint8", "quint8")]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_results_are_those_of_onnxruntime_to_a_step(
    models: dict[str, Quantized], compiled: Compiled, name: str, variant: str
) -> None:
    made, differences = models[name], []
    for _ in range(20):
        x = normal(*made.shape)
        differences.append((compiled.run(variant, name, x) - expected(made.proto, x)) / made.step)
    steps = np.abs(np.round(np.stack(differences)))
    assert steps.max() <= 1
    assert np.mean(steps > 0) < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_everything_between_input_and_output_is_integer(compiled: Compiled, name: str) -> None:
    nodes = compiled.sources[name].report["nodes"]
    computing = [node["op"] for node in nodes if node["kernel"] not in ("none", "convert")]
    assert computing[0] == "Quantize" and computing[-1] == "Dequantize"
    assert set(computing[1:-1]) <= {"QConv", "QGemm", "QPool", "QAdd"}
    # the sum with its residual is part of the convolution before it
    assert "QAdd" not in computing


def test_winograd_is_used_for_integers_and_can_be_turned_off(models: dict[str, Quantized]) -> None:
    proto = models["residual_qint8"].proto
    assert "rc_int8_winograd_conv(" in generate(proto).files["model.c"].decode()
    assert "winograd" not in generate(proto, Options(winograd=False)).files["model.c"].decode()


def test_a_node_without_a_quantized_form_stays_float(tmp_path: Path) -> None:
    constants: dict[str, Array] = {}
    nodes = [conv("x", "c0", normal(4, 3, 3, 3), constants), helper.make_node("Tanh", ["c0"], ["t"])]
    nodes.append(conv("t", "y", normal(5, 4, 1, 1), constants))
    made = quantized((model(nodes, (1, 3, 6, 6), constants), (1, 3, 6, 6)), QuantType.QInt8, tmp_path / "quantized")
    compiled = Compiled({"tanh": made.proto}, tmp_path)
    operators = [node["op"] for node in compiled.sources["tanh"].report["nodes"]]
    assert "Tanh" in operators and operators.count("QConv") >= 1
    x = normal(1, 3, 6, 6)
    difference = compiled.run("simd", "tanh", x) - expected(made.proto, x)
    assert np.abs(difference).max() < 1.5 * made.step


def by_hand(nodes: list[Any], shape: tuple[int, ...], constants: dict[str, Array], step: float) -> Any:
    """The nodes between `x` and `last`, after x has been quantized and before the output is."""
    constants |= {"step": np.float32(step), "zero": np.int8(3), "wide": np.float32(4 * step)}
    ends = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "step", "zero"], ["xd"]),
        *nodes,
        helper.make_node("QuantizeLinear", ["last", "wide", "zero"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "wide", "zero"], ["y"]),
    ]
    return model(ends, shape, constants)


def weights(shape: tuple[int, ...], bias: int | None = None) -> tuple[list[Any], dict[str, Array]]:
    """DequantizeLinear of int8 weights `wd`, and of a bias `bd` in which every value is `bias`, for x of step 0.02."""
    constants = {"w": STREAM.integers(-127, 128, shape).astype(np.int8), "ws": np.float32(0.01)}
    nodes = [helper.make_node("DequantizeLinear", ["w", "ws"], ["wd"])]
    if bias is not None:
        constants |= {"b": np.full(shape[0], bias, np.int32), "bs": np.float32(0.02) * np.float32(0.01)}
        nodes.append(helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"]))
    return nodes, constants


def operators(proto: Any) -> list[str]:
    return [node["op"] for node in generate(proto).report["nodes"]]


def test_a_relu_before_the_quantizer_becomes_a_bound(tmp_path: Path) -> None:
    made, constants = weights((6, 4, 3, 3))
    nodes = [*made, helper.make_node("Conv", ["xd", "wd"], ["c"]), helper.make_node("Relu", ["c"], ["last"])]
    proto = by_hand(nodes, (1, 4, 7, 7), constants, 0.02)
    compiled = Compiled({"relu": proto}, tmp_path)
    assert "Relu" not in operators(proto) and "QConv" in operators(proto)
    x = normal(1, 4, 7, 7)
    result = compiled.run("simd", "relu", x)
    np.testing.assert_allclose(result, expected(proto, x), atol=0.081)
    assert result.min() == 0


@pytest.mark.parametrize(
    ("op", "shape", "attributes"),
    [
        ("MaxPool", (1, 3, 9), {"kernel_shape": [3]}),
        ("MaxPool", (1, 3, 6, 6), {"kernel_shape": [3, 3]}),  # another scale before than after
        ("AveragePool", (1, 3, 5, 5, 5), {"kernel_shape": [2, 2, 2]}),
        ("Add", (1, 3, 5, 5), {}),  # of a constant
    ],
)
def test_what_no_integer_kernel_computes_stays_float(
    tmp_path: Path, op: str, shape: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    constants = {"one": normal(1, 3, 1, 1)}
    node = helper.make_node(op, ["xd", *(["one"] if op == "Add" else [])], ["last"], **attributes)
    proto = by_hand([node], shape, constants, 0.02)
    assert op in operators(proto)
    x = normal(*shape)
    np.testing.assert_allclose(
        Compiled({"pool": proto}, tmp_path).run("simd", "pool", x), expected(proto, x), atol=0.081
    )


@pytest.mark.parametrize(("bias", "op"), [(1000, "QConv"), (2**31 - 1000, "Conv")])
def test_sums_that_might_not_fit_int32_stay_float(bias: int, op: str) -> None:
    made, constants = weights((6, 4, 3, 3), bias)
    proto = by_hand([*made, helper.make_node("Conv", ["xd", "wd", "bd"], ["last"])], (1, 4, 7, 7), constants, 0.02)
    assert op in operators(proto)
