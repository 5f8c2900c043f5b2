# environment: onnx
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.onnxruntime import quantize
from tests.lib.onnx_models import Workplace, cnn, contents


def workplace(root: Path, exported: Any) -> Workplace:
    (root / "simplify").mkdir(parents=True)
    onnx_files.write_model(exported, root / "simplify" / "model.onnx")
    return Workplace(root)


def test_prepares_the_graph_and_writes_the_scheme(tmp_path: Path) -> None:
    metrics = workplace(tmp_path, cnn()).run(quantize.STAGE, "quantize", nodes_to_exclude=("node_head",))
    scheme = json.loads((tmp_path / "quantize" / "scheme.json").read_text())
    assert scheme["float"] == ["node_head"]
    assert "node_conv" in scheme["quantized"]
    assert metrics == {"nodes": 5, "nodes_quantized": 4}
    prepared = onnx_files.read_model(tmp_path / "quantize" / "model.onnx")
    assert [entry.domain for entry in prepared.opset_import] == [""]


def test_channels_are_equalised_where_a_recipe_asks_for_it(tmp_path: Path) -> None:
    exported = cnn()
    # a channel a thousand times the other
    for name, factor in (("conv.weight", np.array([1000, 1]).reshape(2, 1, 1, 1)), ("conv.bias", np.array([1000, 1]))):
        weight = next(one for one in exported.graph.initializer if one.name == name)
        scaled = (numpy_helper.to_array(weight) * factor).astype(np.float32)
        weight.CopyFrom(numpy_helper.from_array(scaled, name))
    metrics = workplace(tmp_path, exported).run(quantize.STAGE, "quantize", equalise=True)
    assert metrics == {"nodes": 5, "nodes_quantized": 5, "places_equalised": 1}
    graph = onnx_files.read_model(tmp_path / "quantize/model.onnx").graph
    assert [name for node in graph.node for name in node.output if name.endswith("_equalised")]


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for root in (tmp_path / "a", tmp_path / "b"):
        workplace(root, cnn()).run(quantize.STAGE, "quantize")
    assert contents(tmp_path / "a" / "quantize") == contents(tmp_path / "b" / "quantize")


def test_nodes_without_a_name_get_one_of_their_own(tmp_path: Path) -> None:
    exported = cnn()
    for node in exported.graph.node:
        node.name = ""
    workplace(tmp_path, exported).run(quantize.STAGE, "quantize")
    names = json.loads((tmp_path / "quantize" / "scheme.json").read_text())["quantized"]
    assert all(names)
    assert len(set(names)) == 5


def test_an_unknown_node_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no node named 'node_haed'") as caught:
        workplace(tmp_path, cnn()).run(quantize.STAGE, "quantize", nodes_to_exclude=("node_haed",))
    assert caught.value.remedy == "did you mean 'node_head'?"


def test_an_old_opset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="needs opset 13 or later, but the model has 12") as caught:
        workplace(tmp_path, cnn(opset=12)).run(quantize.STAGE, "quantize")
    assert "set export.opset to 13 or later" in caught.value.remedy


def test_nothing_left_to_quantize_is_refused(tmp_path: Path) -> None:
    nodes = ("node_conv", "node_relu", "node_pool", "node_flatten", "node_head")
    with pytest.raises(StageError, match="no node of the model can be quantized"):
        workplace(tmp_path, cnn()).run(quantize.STAGE, "quantize", nodes_to_exclude=nodes)
