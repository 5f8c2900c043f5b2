# environment: torch
"""Layer names through both exporters. Faults of the export are planted in test_export_faults.py."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from recast.stages.base import StageError
from recast.stages.common import reference
from recast.stages.parity import activations, comparison, layer_names
from recast.stages.parity.forms import pytorch_form
from recast.stages.parity.forms.form import NamedForm
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.trunk.export import strip
from tests.lib.faults import attribute

EXPORTERS = ["dynamo", "torchscript"]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.conv2(self.act(self.bn1(self.conv1(x)))) + x)


class Net(nn.Module):
    """Blocks and functions: 30 layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.blocks = nn.Sequential(*(Block() for _ in range(4)))
        self.norm = nn.LayerNorm(8)
        self.fc1 = nn.Linear(8, 8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(F.pad(x, (0, 1, 0, 1))))
        x = self.blocks(x)
        x = x * torch.softmax(x, dim=1)
        x = self.norm(F.adaptive_avg_pool2d(x, 1).flatten(1))
        x = self.drop(F.gelu(self.fc1(x)))
        return F.log_softmax(self.head(x), dim=1)


@functools.cache
def exported(exporter: str, seed: int, network: type[nn.Module] = Net) -> tuple[Any, Any, torch.Tensor]:
    torch.manual_seed(seed)
    model = network().eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0.5, 2)
    x = torch.randn(4, 3, 16, 16)
    names = {"input_names": ["input"], "output_names": ["output"]}
    if exporter == "dynamo":
        shapes = ({0: torch.export.Dim("batch")},)
        program = torch.onnx.export(model, (x,), dynamo=True, opset_version=18, dynamic_shapes=shapes, **names)
        proto = program.model_proto
    else:
        buffer = io.BytesIO()
        axes = {"input": {0: "batch"}}
        torch.onnx.export(model, (x,), buffer, dynamo=False, opset_version=12, dynamic_axes=axes, **names)
        proto = onnx.load_from_string(buffer.getvalue())
    strip(proto)
    return proto, activations.collect(model, x), x


def traced(proto: Any, sampled: Any, x: torch.Tensor) -> dict[str, tuple[str, str]]:
    outputs = {key.removesuffix(".out.0"): value.numpy() for key, value in sampled.tensors.items() if ".out.0" in key}
    return layer_names.trace(proto, OnnxForm(proto, 1, "the model").values(x.numpy()), sampled.layers, outputs)


def conversion(proto: Any, sampled: Any, x: torch.Tensor, folder: Path) -> comparison.Conversion:
    """As `export` and `verify` do it, through the files."""
    onnx.save(proto, folder / "model.onnx")
    activations.save(folder / "activations.safetensors", sampled)
    layer_names.write(folder / layer_names.FILE, traced(proto, sampled, x))
    reference.write(folder / reference.FILE, x.numpy(), sampled.tensors[f"{activations.MODEL}.out.0"].numpy())
    record = pytorch_form.read(folder)
    assert record is not None
    exported = NamedForm("exported", OnnxForm(proto, 1, "the exported model"), "float")
    pytorch = NamedForm("pytorch", record[0], "float")
    return comparison.compare(pytorch, exported, record[1], layer_names.of(folder), record[0].folded)


def faulty(exporter: str, seed: int) -> Any:
    made = onnx.ModelProto()
    made.CopyFrom(exported(exporter, seed)[0])
    return made


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_every_layer_that_onnx_has_is_found(exporter: str) -> None:
    proto, sampled, x = exported(exporter, 0)
    found = traced(proto, sampled, x)
    layers = {layer for layer, _ in found.values()}
    blocks = [f"blocks.{i}" for i in range(4)]
    inner = ["bn1", "act", "conv2", "add", "relu"]
    # the newer exporter fuses the padding with the convolution
    expected = {
        *(["pad"] if exporter == "torchscript" else []),
        "stem",
        "relu",
        *(f"{block}.{part}" for block in blocks for part in inner),
    }
    assert layers >= expected | {"softmax", "mul", "norm", "fc1", "gelu", "head", "log_softmax", "adaptive_avg_pool2d"}
    # Dropout is no node, a block is its last one, and conv1 is fused with bn1
    assert not layers & {"drop", *blocks, *(f"{block}.conv1" for block in blocks)}
    assert {evidence for _, evidence in found.values()} == {"value"}


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("seed", range(3))
def test_a_correct_export_is_never_blamed(exporter: str, seed: int, tmp_path: Path) -> None:
    found = conversion(*exported(exporter, seed), tmp_path)
    assert found.blamed is None and found.output.sqnr_db > 100
    assert len(found.layers) >= 28


class Attention(nn.Module):
    """What PyTorch computes inside its own modules, by functions that no trace shows."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x).mean(1))


def test_no_tensor_inside_a_module_is_taken_for_its_output(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Attention().eval(), torch.randn(4, 6, 16)
    names = {"input_names": ["input"], "output_names": ["output"]}
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(model, (x,), dynamo=True, opset_version=18, dynamic_shapes=shapes, **names)
    strip(program.model_proto)
    found = conversion(program.model_proto, activations.collect(model, x), x, tmp_path)
    shown = {layer.layer for layer in found.layers}
    assert shown >= {"encoder.layers.0.self_attn", "encoder.layers.1.norm2", "encoder.layers.1.linear1", "mean", "head"}
    assert all(layer.alone is not None and layer.alone.sqnr_db > 100 for layer in found.layers)


def test_another_epsilon_is_blamed(tmp_path: Path) -> None:
    _, sampled, x = exported("dynamo", 0)
    wrong = faulty("dynamo", 0)
    norm = next(one for one in wrong.graph.node if one.op_type == "LayerNormalization")
    attribute(norm, "epsilon", 0.5)
    found = conversion(wrong, sampled, x, tmp_path)
    assert found.blamed is not None and found.blamed.layer == "norm"


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_without_metadata_and_behind_a_fault_the_structure_tells(exporter: str, tmp_path: Path) -> None:
    _, sampled, x = exported(exporter, 0)
    wrong = faulty(exporter, 0)
    for index, one in enumerate(wrong.graph.node):
        one.name = f"n{index}"
        one.ClearField("metadata_props")
    [one for one in wrong.graph.node if one.op_type == "Relu"][3].op_type = "Identity"
    evidence = dict(traced(wrong, sampled, x).values())
    assert evidence["blocks.1.bn1"] == "value"
    assert evidence["blocks.2.conv2"] == evidence["blocks.3.act"] == evidence["fc1"] == "structure"
    found = conversion(wrong, sampled, x, tmp_path)
    assert found.blamed is not None
    assert "blocks.1.act" in (*found.blamed.covers, found.blamed.layer) or found.blamed.layer == "blocks.1.conv2"


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "layers.json").write_text('{"a": 1}')
    with pytest.raises(StageError, match=r"cannot read the layer names layers\.json"):
        layer_names.read(tmp_path / "layers.json")
