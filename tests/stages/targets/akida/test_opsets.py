# environment: akida
from __future__ import annotations

import json
from pathlib import Path

import pytest

from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import quantize
from recast.stages.trunk.rewrites import simplify_process
from tests.lib.onnx_models import Workplace, cnn, write_data


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 17, 18, 21])
def test_the_normalisation_is_folded_into_a_model_of_any_operator_set(tmp_path: Path, opset: int) -> None:
    write_data(tmp_path / "data")
    exported = cnn(opset=opset)
    simplify_process.drop_idle_allowzero(exported)
    (tmp_path / "simplify").mkdir()
    onnx_files.write_model(exported, tmp_path / "simplify" / "model.onnx")
    Workplace(tmp_path).run(quantize.STAGE, "quantize")
    assert json.loads((tmp_path / "quantize" / "scheme.json").read_text())["input"] == "stored"
