# environment: wasm
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from stages.wasm.compiler import catalog
from stages.wasm.compiler.compile import Options, generate
from stages.wasm.compiler.graph import Graph, Node
from stages.wasm.compiler.options import Unsupported
from stages.wasm.compiler.passes import dead, quantized
from stages.wasm.compiler.reading import read
from tests.stages.onnx_models import initializer, model
from tests.stages.wasm.compiler.modules import load

node = onnx.helper.make_node


def qdq_model(pool_scale: float = 0.05) -> Any:
    """QuantizeLinear -> (Conv, Relu between DequantizeLinear and QuantizeLinear) -> MaxPool -> DequantizeLinear."""
    random = np.random.default_rng(0)
    weights = [
        initializer("sx", 0.02), initializer("zx", 128, np.uint8), initializer("sy", 0.05),
        initializer("sp", pool_scale),
        initializer("zy", 3, np.uint8), initializer("w", random.integers(-127, 128, (4, 1, 3, 3)), np.int8),
        initializer("sw", [0.01, 0.02, 0.03, 0.04]), initializer("zw", [0] * 4, np.int8),
        initializer("b", random.integers(-1000, 1000, 4), np.int32), initializer("sb", [2e-4, 4e-4, 6e-4, 8e-4]),
        initializer("zb", [0] * 4, np.int32),
    ]  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["image", "sx", "zx"], ["xq"], "q_image"),
        node("DequantizeLinear", ["xq", "sx", "zx"], ["x"], "dq_image"),
        node("DequantizeLinear", ["w", "sw", "zw"], ["wf"], "dq_weight", axis=0),
        node("DequantizeLinear", ["b", "sb", "zb"], ["bf"], "dq_bias", axis=0),
        node("Conv", ["x", "wf", "bf"], ["c"], "conv", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"], "relu"),
        node("QuantizeLinear", ["r", "sy", "zy"], ["rq"], "q_conv"),
        node("DequantizeLinear", ["rq", "sy", "zy"], ["rd"], "dq_conv"),
        node("MaxPool", ["rd"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("QuantizeLinear", ["p", "sp", "zy"], ["pq"], "q_pool"),
        node("DequantizeLinear", ["pq", "sp", "zy"], ["scores"], "dq_pool"),
    ]
    made = model(nodes, weights, (1, 1, 8, 8))
    made.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("scores", 1, [1, 4, 4, 4]))
    return made


@pytest.mark.parametrize("simd", [True, False])
def test_without_an_integer_kernel_it_runs_as_written(
    tmp_path: Path, simd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "CANDIDATES", catalog.GENERIC)
    source = generate(qdq_model())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(qdq_model().SerializeToString(), options)
    module = load([source], simd, tmp_path)
    for seed in range(5):
        image = np.random.default_rng(seed).normal(size=(1, 1, 8, 8)).astype(np.float32) * 2
        np.testing.assert_allclose(module.run(source, [image])[0], session.run(None, {"image": image})[0], atol=1e-6)


def test_a_pool_of_equal_scales_runs_on_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "CANDIDATES", catalog.GENERIC)
    ops = [each["op"] for each in generate(qdq_model()).report["nodes"]]
    assert ops[-2:] == ["MaxPool", "DequantizeLinear"]
    ops = [each["op"] for each in generate(qdq_model(pool_scale=0.06)).report["nodes"]]
    assert ops[-4:] == ["DequantizeLinear", "MaxPool", "QuantizeLinear", "DequantizeLinear"]


def _fused(made: Any) -> tuple[Graph, Node]:
    graph = read(made, Options())
    quantized.fuse(graph, lambda proposed: True)
    dead.remove(graph)
    return graph, next(each for each in graph.nodes if each.op == "Conv")


def test_a_convolution_between_both_becomes_one_on_integers() -> None:
    made = qdq_model()
    del made.graph.node[5]  # the Relu
    made.graph.node[5].input[0] = "c"
    graph, conv = _fused(made)
    assert (conv.inputs, conv.outputs, conv.folded) == (["xq", "w", "b"], ["rq"], ["q_conv"])
    assert [each.op for each in graph.nodes] == ["QuantizeLinear", "Conv", "MaxPool", "DequantizeLinear"]
    assert conv.quantized is not None and conv.quantized.output is not None
    x, weight, bias = conv.quantized.inputs
    assert x is not None and weight is not None and bias is not None
    assert (x.scale.tolist(), x.zero_point.tolist()) == ([np.float32(0.02)], [128])
    np.testing.assert_array_equal(weight.scale, np.float32([0.01, 0.02, 0.03, 0.04]))
    assert (weight.axis, weight.zero_point.tolist(), bias.axis) == (0, [0] * 4, 0)
    assert (conv.quantized.output.scale.tolist(), conv.quantized.output.zero_point.tolist()) == (
        [np.float32(0.05)],
        [3],
    )


def test_a_kernel_for_reals_never_gets_integers() -> None:
    graph, conv = _fused(qdq_model())
    assert conv.quantized is not None
    assert not any(kernel.matches(conv, graph, Options()) for kernel in catalog.GENERIC)


def test_a_scale_that_is_no_constant_leaves_the_nodes_as_written() -> None:
    made = qdq_model()
    made.graph.initializer.remove(next(each for each in made.graph.initializer if each.name == "sx"))
    made.graph.input.append(onnx.helper.make_tensor_value_info("sx", 1, []))
    _, conv = _fused(made)
    assert conv.quantized is None


def test_blocks_are_refused() -> None:
    scales = initializer("s", np.ones((1, 1, 4, 8)))
    quantize = node("QuantizeLinear", ["image", "s"], ["scores"], "blocks", axis=2, block_size=2)
    made = model([quantize], [scales], (1, 1, 8, 8), opset=21)
    with pytest.raises(Unsupported, match=r"'blocks' \(QuantizeLinear, opset 21\): blocks"):
        generate(made)
