# environment: onnx
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from pydantic import ValidationError

from recast.stages.base import Stage
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.onnxruntime import calibrate as onnxruntime_calibrate
from recast.stages.targets.onnxruntime import quantize as onnxruntime_quantize
from recast.stages.targets.wasm import calibrate, quantize
from tests.lib.onnx_models import Workplace, cnn, write_data


@pytest.fixture
def work(tmp_path: Path) -> Workplace:
    write_data(tmp_path / "data")
    (tmp_path / "simplify").mkdir()
    onnx_files.write_model(cnn(), tmp_path / "simplify/model.onnx")
    return Workplace(tmp_path)


def test_float32_passes_the_simplified_model_on(work: Workplace) -> None:
    assert work.run(quantize.STAGE, "quantize") == {"nodes": 5, "nodes_quantized": 0}
    assert work.run(calibrate.STAGE, "calibrate")["ranges"] == 0
    simplified = (work.root / "simplify/model.onnx").read_bytes()
    assert (work.root / "quantize/model.onnx").read_bytes() == simplified
    assert (work.root / "calibrate/model.onnx").read_bytes() == simplified
    assert json.loads((work.root / "quantize/scheme.json").read_text()) == {"scheme": "float32"}


def test_float32_has_nothing_to_equalise() -> None:
    with pytest.raises(ValidationError, match="scheme float32 rounds nothing that equalise could help"):
        quantize.QuantizeParams(equalise=True)


def test_int8_is_what_the_onnxruntime_target_makes(work: Workplace, tmp_path: Path) -> None:
    metrics = work.run(quantize.STAGE, "quantize", scheme="int8")
    assert metrics["nodes_quantized"] > 0
    assert work.run(calibrate.STAGE, "calibrate", method="minmax")["ranges"] > 0
    other = Workplace(tmp_path / "other")
    (tmp_path / "other").mkdir()
    for name in ("data", "simplify"):
        (tmp_path / "other" / name).symlink_to(tmp_path / name)
    # with all 8 bits, which the kernels of wasm can have on every processor
    assert other.run(onnxruntime_quantize.STAGE, "quantize", reduce_range=False) == metrics
    other.run(onnxruntime_calibrate.STAGE, "calibrate")
    for file in ("quantize/model.onnx", "calibrate/model.onnx", "calibrate/ranges.json"):
        assert (work.root / file).read_bytes() == (other.root / file).read_bytes()


@pytest.mark.parametrize(
    ("stage", "scheme", "bits"),
    [
        (quantize.STAGE, {"scheme": "int8"}, 8),
        (quantize.STAGE, {"scheme": "int8", "reduce_range": True}, 7),
        (onnxruntime_quantize.STAGE, {}, 7),
        (onnxruntime_quantize.STAGE, {"reduce_range": False}, 8),
        (onnxruntime_quantize.STAGE, {"weight_type": "uint8"}, 8),
    ],
)
def test_weights_have_seven_bits_where_kernels_need_it(
    work: Workplace, stage: Stage, scheme: dict[str, Any], bits: int
) -> None:
    work.run(stage, "quantize", **scheme)
    assert json.loads((work.root / "quantize/scheme.json").read_text())["reduce_range"] is (bits == 7)
    work.run(onnxruntime_calibrate.STAGE, "calibrate")
    model = onnx_files.read_model(work.root / "calibrate/model.onnx")
    (weight,) = (each for each in model.graph.initializer if each.name == "conv.weight_quantized")
    values = onnx.numpy_helper.to_array(weight).astype(int)
    if scheme.get("weight_type") == "uint8":
        assert values.max() > 128
    else:
        assert abs(values).max() == (64 if bits == 7 else 127)


def test_nodes_to_exclude_without_int8_are_refused() -> None:
    with pytest.raises(ValidationError, match="drop nodes_to_exclude, or set scheme: int8"):
        quantize.QuantizeParams(nodes_to_exclude=("conv",))
