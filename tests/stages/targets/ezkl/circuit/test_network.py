# environment: ezkl
from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.ezkl import quantize
from recast.stages.targets.ezkl.circuit import settings
from recast.stages.targets.ezkl.circuit.network import with_strides, without_idle_bounds
from tests.lib.ezkl import circuits
from tests.lib.onnx_models import initializer, model


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


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("bounds", [(0.0, LARGEST), (-LARGEST, 0.7), (-LARGEST, LARGEST), (-1.0, 0.7)])
@pytest.mark.parametrize("opset", [7, 10, 11, 13, 18, 21])
def test_bounds_that_no_float_passes_are_left_out(tmp_path: Path, opset: int, bounds: tuple[float, float]) -> None:
    """EZKL says "significant bit truncation when instantiating, try lowering the scale"."""
    names = ("min", "max")
    constants = [initializer("weight", circuits.quadrants().T / 4)]
    if opset < 11:
        clip = onnx.helper.make_node("Clip", ["flat"], ["kept"], **dict(zip(names, bounds, strict=True)))
    else:
        clip = onnx.helper.make_node("Clip", ["flat", *names], ["kept"])
        constants += [initializer(name, bound) for name, bound in zip(names, bounds, strict=True)]
    flatten = onnx.helper.make_node("Flatten", ["image"], ["flat"])
    head = onnx.helper.make_node("MatMul", ["kept", "weight"], ["scores"])
    given = model([flatten, clip, head], constants, opset=opset)
    x = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)
    expected = onnx_files.Session(given, threads=1).run(x)
    made = without_idle_bounds(given)
    onnx_files.check(made, "it")
    assert np.array_equal(onnx_files.Session(made, threads=1).run(x), expected)
    if opset in (10, 13):
        circuits.workplace(tmp_path / "work", given).run(quantize.STAGE, "quantize")
