# environment: onnx
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.onnxruntime import calibrate
from tests.lib.onnx_models import (
    cnn,
    cnn_nodes,
    cnn_weights,
    contents,
    images,
    initializer,
    model,
)
from tests.lib.onnxruntime_chain import quantized


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_makes_an_int8_model_that_still_works(tmp_path: Path, method: str) -> None:
    work = quantized(tmp_path, cnn())
    assert work.run(calibrate.STAGE, "calibrate", method=method)["samples"] == 64
    int8 = onnx_files.read_model(tmp_path / "calibrate" / "model.onnx")
    weights = {weight.data_type for weight in int8.graph.initializer if weight.name.startswith("conv.weight")}
    assert 3 in weights  # onnx.TensorProto.INT8
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in int8.graph.node}
    x, y = images(64, seed=0)
    scores = onnx_files.Session(int8, threads=1).run((x / 255 - 0.5).astype(np.float32) / np.float32(0.5))
    assert (scores.argmax(axis=1) == y).mean() > 0.95


def test_ranges_are_those_of_the_samples(tmp_path: Path) -> None:
    quantized(tmp_path, cnn()).run(calibrate.STAGE, "calibrate", samples=16)
    ranges = json.loads((tmp_path / "calibrate" / "ranges.json").read_text())
    x = images(64, seed=1)[0][:16] / 255 * 2 - 1
    assert ranges["image"] == pytest.approx([x.min(), x.max()], abs=1e-6)


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_same_input_gives_the_same_bytes(tmp_path: Path, method: str) -> None:
    for root in (tmp_path / "a", tmp_path / "b"):
        quantized(root, cnn()).run(calibrate.STAGE, "calibrate", method=method)
    assert contents(tmp_path / "a" / "calibrate") == contents(tmp_path / "b" / "calibrate")


def test_a_fixed_batch_that_does_not_divide_the_samples(tmp_path: Path) -> None:
    assert quantized(tmp_path, cnn(batch=5)).run(calibrate.STAGE, "calibrate")["samples"] == 64


def test_more_samples_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"calibrate\.samples is 65, but there are 64") as caught:
        quantized(tmp_path, cnn()).run(calibrate.STAGE, "calibrate", samples=65)
    assert caught.value.remedy.startswith("lower calibrate.samples to 64")


def test_no_samples_at_all(tmp_path: Path) -> None:
    work = quantized(tmp_path, cnn())
    empty = np.zeros((0, 1, 8, 8), np.uint8)
    np.savez(tmp_path / "data" / "calibration.npz", x=empty, y=np.zeros(0, np.int64))
    with pytest.raises(StageError, match="the calibration split is empty"):
        work.run(calibrate.STAGE, "calibrate")


def test_nan_in_the_samples(tmp_path: Path) -> None:
    work = quantized(tmp_path, cnn())
    samples = np.zeros((4, 1, 8, 8), np.float32)
    samples[2] = np.nan
    np.savez(tmp_path / "data" / "calibration.npz", x=samples, y=np.zeros(4, np.int64))
    with pytest.raises(StageError, match=r"NaN or infinity \(first at sample 2\)"):
        work.run(calibrate.STAGE, "calibrate")


def test_infinite_activations(tmp_path: Path) -> None:
    weights = cnn_weights()
    weights[1] = initializer("conv.bias", [np.inf, 1.0])
    with pytest.raises(StageError, match="activations hold NaN or infinity on the calibration samples"):
        quantized(tmp_path, model(cnn_nodes(), weights)).run(calibrate.STAGE, "calibrate")


def test_a_node_that_the_runtime_has_no_int8_kernel_for_is_named(tmp_path: Path) -> None:
    """The quantizer gives weights of three axes a scale per channel, which onnxruntime's product does not take."""
    import onnx

    node = onnx.helper.make_node
    nodes = [
        node("Reshape", ["image", "shape"], ["parts"], "parts"),
        node("MatMul", ["parts", "stack"], ["products"], "stacked"),
        node("Flatten", ["products"], ["flat"], "flat"),
        node("Gemm", ["flat", "head"], ["scores"], "scores", transB=1),
    ]
    random = np.random.default_rng(0)
    weights = [initializer("stack", random.normal(size=(4, 4, 3))), initializer("head", random.normal(size=(4, 48)))]
    exported = model(nodes, [*weights, initializer("shape", [-1, 4, 4, 4], np.int64)])
    work = quantized(tmp_path, exported)
    with pytest.raises(StageError) as caught:
        work.run(calibrate.STAGE, "calibrate")
    said, remedy = caught.value.message, caught.value.remedy
    assert said.startswith("onnxruntime cannot make int8 of node 'stacked' (MatMul): ") and "status code" not in said
    assert remedy.startswith('leave them in float: set quantize.nodes_to_exclude to ["stacked"], or ')
    for number, way in enumerate(({"nodes_to_exclude": ("stacked",)}, {"per_channel": False})):
        work = quantized(tmp_path / str(number), exported, **way)
        assert work.run(calibrate.STAGE, "calibrate")["samples"] == 64
