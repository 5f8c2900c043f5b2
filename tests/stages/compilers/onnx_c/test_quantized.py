# environment: wasm
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.common.onnx_models import onnx_session
from recast.stages.compilers.onnx_c.compile import Unsupported, generate
from recast.stages.compilers.onnx_c.kernels import catalog
from recast.stages.compilers.onnx_c.passes import int8
from tests.lib.onnx_c.modules import load
from tests.lib.onnx_models import initializer, model

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


def _reference(made: Any, given: dict[str, Any]) -> Any:
    session = onnx_session.start(made.SerializeToString(), 1, "as_written")
    return session.run(None, given)[0]


@pytest.mark.parametrize("simd", [True, False])
def test_without_an_integer_kernel_it_runs_as_written(
    tmp_path: Path, simd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "CANDIDATES", catalog.GENERIC)
    monkeypatch.setattr(int8, "quantize", lambda graph: None)
    source = generate(qdq_model())
    module = load([source], simd, tmp_path)
    for seed in range(5):
        image = np.random.default_rng(seed).normal(size=(1, 1, 8, 8)).astype(np.float32) * 2
        np.testing.assert_allclose(module.run(source, [image])[0], _reference(qdq_model(), {"image": image}), atol=1e-6)


@pytest.mark.parametrize("pool_scale", [0.05, 0.06])
def test_integer_kernels_give_the_same_integers(tmp_path: Path, pool_scale: float) -> None:
    source = generate(qdq_model(pool_scale))
    assert "QConv" in [each["op"] for each in source.report["nodes"]]
    module = load([source], True, tmp_path)
    for seed in range(5):
        image = np.random.default_rng(seed).normal(size=(1, 1, 8, 8)).astype(np.float32) * 2
        steps = (module.run(source, [image])[0] - _reference(qdq_model(pool_scale), {"image": image})) / pool_scale
        # a sum halfway between two integers may go either way
        assert np.abs(steps).max() < 1.01
        assert (np.abs(steps) > 0.5).mean() < 0.05


def test_a_scale_that_is_no_constant_leaves_the_nodes_as_written(tmp_path: Path) -> None:
    made = qdq_model()
    made.graph.initializer.remove(next(each for each in made.graph.initializer if each.name == "sx"))
    made.graph.input.append(onnx.helper.make_tensor_value_info("sx", 1, []))
    source = generate(made)
    assert "QConv" not in [each["op"] for each in source.report["nodes"]]
    given = {"image": np.ones((1, 1, 8, 8), np.float32), "sx": np.array(0.03, np.float32)}
    (found,) = load([source], True, tmp_path).run(source, list(given.values()))
    np.testing.assert_allclose(found, _reference(made, given), atol=0.051)


def test_blocks_are_refused() -> None:
    scales = initializer("s", np.ones((1, 1, 4, 8)))
    quantize = node("QuantizeLinear", ["image", "s"], ["scores"], "blocks", axis=2, block_size=2)
    made = model([quantize], [scales], (1, 1, 8, 8), opset=21)
    with pytest.raises(Unsupported, match=r"'blocks' \(QuantizeLinear, opset 21\): blocks"):
        generate(made)
