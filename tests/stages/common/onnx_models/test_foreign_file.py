# environment: onnx
"""Files of users that are valid in a later operator set only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from recast.stages.base import StageError
from recast.stages.common.onnx_models import foreign_file, onnx_files


def write(path: Path, opset: int, kind: int, operator: str) -> None:
    ports = [helper.make_tensor_value_info(name, kind, ["batch", 4]) for name in ("a", "b")]
    made = helper.make_tensor_value_info("y", TensorProto.BOOL if operator == "Equal" else kind, ["batch", 4])
    graph = helper.make_graph([helper.make_node(operator, ["a", "b"], ["y"])], "g", ports, [made])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7), path)


def test_equal_of_floats_is_read_in_the_set_that_has_it(tmp_path: Path, capsys: Any) -> None:
    write(tmp_path / "m.onnx", 10, TensorProto.FLOAT, "Equal")
    assert onnx_files.opset(foreign_file.read(tmp_path / "m.onnx", "m.onnx")) == 11
    assert "m.onnx is valid only from operator set 11 on" in capsys.readouterr().out


def test_a_sound_file_is_read_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx", 10, TensorProto.FLOAT, "Add")
    assert onnx_files.opset(foreign_file.read(tmp_path / "m.onnx", "m.onnx")) == 10


def test_what_no_set_has_is_refused_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx", 10, TensorProto.STRING, "Mul")
    with pytest.raises(StageError, match=r"m\.onnx is not valid ONNX"):
        foreign_file.read(tmp_path / "m.onnx", "m.onnx")
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(StageError, match="is not an ONNX file, or it is damaged"):
        foreign_file.read(tmp_path / "m.onnx", "m.onnx")
