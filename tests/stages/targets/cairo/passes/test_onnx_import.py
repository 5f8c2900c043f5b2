# environment: cairo
from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.cairo.ir.fixed_point import parse_format
from recast.stages.targets.cairo.passes import interpreter, onnx_import
from tests.lib.onnx_models import initializer, model

FORMAT = parse_format("FP16x16")
X = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)
node = onnx.helper.make_node


def head(nodes: list[Any], features: int, opset: int, *weights: Any) -> Any:
    random = np.random.default_rng(1)
    ends = [node("Flatten", ["part"], ["flat"]), node("MatMul", ["flat", "weight"], ["scores"])]
    return model([*nodes, *ends], [initializer("weight", random.normal(size=(features, 4))), *weights], opset=opset)


def error(given: Any) -> float:
    """Largest error of the program's integers against onnxruntime."""
    program = onnx_import.read(given, FORMAT)
    found = FORMAT.value(interpreter.run(program, FORMAT.raw(X))[program.output])
    return float(np.abs(found - onnx_files.Session(given, threads=1).run(X)).max())


@pytest.mark.parametrize("opset", [7, 9, 10, 13, 18])
def test_slice_has_its_bounds_as_attributes_before_operator_set_10(opset: int) -> None:
    bounds = {"starts": [1, 2], "ends": [100, -1], "axes": [2, 3]}
    constants = [initializer(name, value, np.int64) for name, value in bounds.items()] if opset >= 10 else []
    cut = node("Slice", ["image", *bounds], ["part"]) if opset >= 10 else node("Slice", ["image"], ["part"], **bounds)
    assert error(head([cut], 35, opset, *constants)) < 1e-2


def test_softmax_over_several_axes_is_refused() -> None:
    assert error(head([node("Softmax", ["image"], ["part"], axis=3)], 64, 12)) < 1e-2
    with pytest.raises(StageError, match="it runs over several axes, as before operator set 13"):
        onnx_import.read(head([node("Softmax", ["image"], ["part"], axis=2)], 64, 12), FORMAT)
    assert error(head([node("Softmax", ["image"], ["part"], axis=2)], 64, 13)) < 1e-2
