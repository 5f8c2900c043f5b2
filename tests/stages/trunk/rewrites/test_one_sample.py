# environment: onnx
"""Models without an axis for samples, and such as mix them, imported as models of one sample at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from recast.stages.base import Inputs, StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.trunk import import_onnx, inputs

FLOAT = TensorProto.FLOAT


def write(path: Path, nodes: list[Any], taken: list[Any], made: list[Any], opset: int = 18) -> None:
    ports = [helper.make_tensor_value_info("x", FLOAT, taken)], [helper.make_tensor_value_info("y", FLOAT, made)]
    graph = helper.make_graph(nodes, "g", *ports)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path / "m.onnx")


def run(root: Path, task: str = "none") -> onnx_files.Session:
    """Draw inputs, import, and start what came out."""
    for stage in ("data", "export", "scratch"):
        (root / stage).mkdir()
    drawn = inputs.InputsParams.model_validate({"task": "none", "onnx": "m.onnx", "samples": 12})
    inputs.STAGE.run(drawn, Inputs({}, {"onnx": root / "m.onnx"}), root / "data")
    params = import_onnx.ImportParams.model_validate({"task": task, "path": "m.onnx"})
    given = Inputs({"data": root / "data"}, {"path": root / "m.onnx"}, scratch=root / "scratch")
    import_onnx.STAGE.run(params, given, root / "export")
    return onnx_files.Session(onnx_files.read_model(root / "export/model.onnx"), 1)


@pytest.mark.parametrize("opset", [11, 18])
def test_a_function_of_one_array_takes_samples(tmp_path: Path, opset: int) -> None:
    write(tmp_path, [helper.make_node("Gemm", ["x", "x"], ["y"], transA=1)], [5, 4], [4, 4], opset)
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path).run(x), np.einsum("nij,nik->njk", x, x), rtol=1e-5, atol=1e-6)


def test_one_number_is_given_an_axis(tmp_path: Path) -> None:
    write(tmp_path, [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], ["batch", 4], [])
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path).run(x), x.sum(1), rtol=1e-5)


def test_a_model_that_mixes_samples_has_outputs_of_one_alone(tmp_path: Path) -> None:
    write(tmp_path, [helper.make_node("Softmax", ["x"], ["y"], axis=0)], ["batch", 4], ["batch", 4])
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path).run(x), np.ones_like(x))


def test_a_model_with_a_batch_keeps_it(tmp_path: Path) -> None:
    write(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], ["batch", 4], ["batch", 4])
    run(tmp_path)
    made = onnx.load(tmp_path / "export/model.onnx")
    assert [node.op_type for node in made.graph.node] == ["Relu"]
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_only_where_nothing_is_asked_of_outputs(tmp_path: Path) -> None:
    write(tmp_path, [helper.make_node("Softmax", ["x"], ["y"], axis=0)], ["batch", 4], ["batch", 4])
    with pytest.raises(StageError, match="mixes the samples of a batch"):
        run(tmp_path, "embedding")
