# environment: ezkl
from __future__ import annotations

from pathlib import Path

import onnx

from stages import onnx_files
from stages.ezkl import quantize, settings
from stages.ezkl.network import with_strides
from tests.stages.ezkl import circuits


def test_strides_that_onnx_has_by_default_are_written_down(tmp_path: Path) -> None:
    before = circuits.convolutional()
    assert not any(one.name == "strides" for one in before.graph.node[0].attribute)
    # EZKL says that a node "is missing required params: stride"
    work = circuits.workplace(tmp_path / "work", before)
    work.run(quantize.STAGE, "quantize")
    conv = onnx.load(work.root / "quantize" / settings.NETWORK).graph.node[0]
    assert next(list(one.ints) for one in conv.attribute if one.name == "strides") == [1, 1]


def test_strides_that_are_given_stay() -> None:
    model = circuits.convolutional()
    pool = model.graph.node[2]
    with_strides(model)
    assert [list(one.ints) for one in pool.attribute if one.name == "strides"] == [[4, 4]]
    onnx_files.check(model, "the model")
