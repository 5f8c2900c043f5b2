# environment: torch
"""Pools with ceil_mode: ONNX's shape inference counts windows that PyTorch and onnxruntime leave out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from recast.stages.base import Inputs, ModelReference, ProjectCode, StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.torch_models.model_class import build_model
from recast.stages.common.torch_models.weights import write_weights
from recast.stages.trunk.export import STAGE, ExportParams
from tests.lib import own_models
from tests.lib.contracts import contract as contract_of

NETS = """
from torch import nn

class Pooled(nn.Sequential):
    def __init__(self, pool, **arguments):
        layer = getattr(nn, pool)(**arguments)
        super().__init__(nn.Conv2d(2, 3, 3, padding=1), layer, nn.Flatten(), nn.LazyLinear(4))

class Normalised(nn.Sequential):
    def __init__(self):
        super().__init__(nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.LazyLinear(4))
"""
POOLS = {
    "max": {"pool": "MaxPool2d", "kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True},
    "average": {"pool": "AvgPool2d", "kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True},
    "average of what is there": {
        "pool": "AvgPool2d", "kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True, "count_include_pad": False
    },
}  # fmt: skip
SHAPE = (2, 6, 5)


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return own_models.lay(tmp_path, NETS, monkeypatch)


def export(root: Path, model: ModelReference, opset: int) -> Path:
    for folder in ("data", "train", "export"):
        (root / folder).mkdir()
    x = np.random.default_rng(0).normal(size=(12, *SHAPE)).astype(np.float32)
    np.savez(root / "data/calibration.npz", x=x, y=np.arange(12) % 4)
    contract_of("own", SHAPE, "float32", 1.0, (0.0,), (1.0,), ("a", "b", "c", "d")).write(root / "data")
    torch.manual_seed(0)
    built = build_model(model, ProjectCode())
    built(torch.from_numpy(x))
    write_weights(built, root / "train/model.safetensors")
    inputs = Inputs({"data": root / "data", "train": root / "train"}, scratch=root)
    STAGE.run(ExportParams(model=model, opset=opset), inputs, root / "export")
    return root / "export/model.onnx"


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("pool", POOLS)
def test_what_is_exported_is_inferred_and_run_as_pytorch_has_it(
    tmp_path: Path, nets: str, pool: str, opset: int
) -> None:
    path = export(tmp_path, ModelReference(name=f"{nets}:Pooled", args=POOLS[pool]), opset)
    model = onnx_files.read_model(path)  # its shapes fit each other
    node = next(one for one in model.graph.node if one.op_type.endswith("Pool"))
    assert not any(attribute.name == "ceil_mode" and attribute.i for attribute in node.attribute)
    onnx.shape_inference.infer_shapes(model, strict_mode=True)


def test_a_network_that_mixes_samples_is_refused(tmp_path: Path, nets: str) -> None:
    with pytest.raises(StageError, match="other scores when other samples are beside it in the batch") as caught:
        export(tmp_path, ModelReference(name=f"{nets}:Normalised"), 18)
    assert "layer '0' (BatchNorm2d)" in caught.value.message and "running statistics" in caught.value.message
