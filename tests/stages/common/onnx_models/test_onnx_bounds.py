# environment: onnx
"""ONNX files that ask for more than a machine has: refused before anything is made."""

from __future__ import annotations

import random
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_bounds
from recast.stages.trunk import import_onnx
from tests.lib.damage import flipped
from tests.lib.onnx_models import Workplace, cnn, write_data
from tests.lib.tally import Tally

FLOAT = TensorProto.FLOAT


def plus_a_constant(nodes: list[Any], weights: list[Any]) -> Any:
    """(N, 1, 8, 8) -> (N, 4): zeros of the input, plus what the nodes make of constants as `c`, summed."""
    graph = helper.make_graph(
        [
            *nodes,
            helper.make_node("ReduceSum", ["c"], ["sum"], keepdims=0),
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["product"]),
            helper.make_node("Add", ["product", "sum"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("y", FLOAT, ["N", 4])],
        [*weights, numpy_helper.from_array(np.ones((64, 4), np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def ints(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def shaped_by_weight(*shape: int) -> Any:
    return plus_a_constant([helper.make_node("ConstantOfShape", ["s"], ["c"])], [ints("s", *shape)])


def shaped_by_node(*shape: int) -> Any:
    constant = helper.make_node("Constant", [], ["s"], value=ints("", *shape))
    return plus_a_constant([constant, helper.make_node("ConstantOfShape", ["s"], ["c"])], [])


def expanded(*shape: int) -> Any:
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    return plus_a_constant([helper.make_node("Expand", ["one", "s"], ["c"])], [ints("s", *shape), one])


def random_normal(*shape: int) -> Any:
    return plus_a_constant([helper.make_node("RandomNormal", [], ["c"], shape=shape)], [])


def tiled(*shape: int) -> Any:
    one = numpy_helper.from_array(np.ones((1,) * len(shape), np.float32), "one")
    return plus_a_constant([helper.make_node("Tile", ["one", "s"], ["c"])], [ints("s", *shape), one])


@pytest.mark.parametrize("make", [shaped_by_weight, shaped_by_node, expanded, random_normal, tiled])
def test_a_tensor_that_is_stated_too_large(make: Any, tmp_path: Path) -> None:
    onnx_bounds.refuse_large_tensors(make(10, 10), "m.onnx")
    for shape in ((10**9,), (10**5, 10**5)):
        begun = time.monotonic()
        with pytest.raises(StageError, match=r"of m.onnx has shape .*GiB") as caught:
            onnx_bounds.refuse_large_tensors(make(*shape), "m.onnx")
        assert caught.value.remedy and time.monotonic() - begun < 5


def test_a_weight_that_lies_about_its_shape() -> None:
    for dims in ([10**9, 10**9], [-1, 4]):
        model = cnn()
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)
        with pytest.raises(StageError, match="weight '"):
            onnx_bounds.refuse_large_tensors(model, "m.onnx")


def imported(tmp_path: Path, content: bytes) -> None:
    if not (tmp_path / "data").exists():
        write_data(tmp_path / "data")
    for made in ("export", "export.scratch"):
        shutil.rmtree(tmp_path / made, ignore_errors=True)
    (tmp_path / "m.onnx").write_bytes(content)
    Workplace(tmp_path).run(import_onnx.STAGE, "export", {"path": tmp_path / "m.onnx"}, path="m.onnx")


def test_what_is_large_only_when_it_runs_meets_the_bound_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shape that is computed from the samples' values: nothing tells it before."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Abs", ["most"], ["positive"]),
        helper.make_node("Add", ["positive", "one"], ["above"]),
        helper.make_node("Mul", ["above", "huge"], ["length"]),
        helper.make_node("Cast", ["length"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "single"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["c"]),
    ]
    weights = [
        numpy_helper.from_array(np.float32(1), "one"),
        numpy_helper.from_array(np.float32(3e8), "huge"),
        ints("single", 1),
    ]
    monkeypatch.setattr("recast.stages.common.untrusted.free_bytes", lambda: 2**29)
    with pytest.raises(StageError) as caught:
        imported(tmp_path, plus_a_constant(nodes, weights).SerializeToString())
    assert "m.onnx" in caught.value.message and caught.value.remedy


@pytest.mark.parametrize("count", [30, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.fault("bits of an ONNX file flipped: imported or refused, at once")
def test_flipped_bits(tmp_path: Path, tally: Tally, count: int) -> None:
    content, choose, refused = cnn().SerializeToString(), random.Random(0), 0
    for number in range(count):
        read = partial(imported, tmp_path, flipped(content, choose))
        refused += tally.refused_or_done(str(number), read, StageError, 10)
    assert not tally.losses, tally.losses[:3]
    assert 0 < refused <= count


def test_the_fixture_is_a_model() -> None:
    onnx.checker.check_model(shaped_by_weight(2, 2), full_check=True)
