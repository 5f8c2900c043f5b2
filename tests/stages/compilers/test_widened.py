# environment: wasm
from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from recast.stages.common.onnx_models import onnx_files
from recast.stages.compilers import fixed_batch
from recast.stages.compilers.widened import widen
from tests.lib.onnx_models import initializer

HALF, FLOAT = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


def halves() -> Any:
    """float16 from end to end: weights, a constant, a cast."""
    node, info, random = onnx.helper.make_node, onnx.helper.make_tensor_value_info, np.random.default_rng(0)
    step = onnx.numpy_helper.from_array(np.array([0.5], np.float16))
    nodes = [
        node("Gemm", ["x", "w"], ["seen"], "gemm"),
        node("Constant", [], ["step"], "step", value=step),
        node("Mul", ["seen", "step"], ["half"], "mul"),
        node("Cast", ["ids"], ["known"], "cast", to=HALF),
        node("Add", ["half", "known"], ["y"], "add"),
    ]
    taken = [info("x", HALF, ["n", 4]), info("ids", onnx.TensorProto.INT64, ["n", 3])]
    graph = onnx.helper.make_graph(
        nodes, "halves", taken, [info("y", HALF, ["n", 3])], [initializer("w", random.normal(size=(4, 3)), np.float16)]
    )
    graph.value_info.append(info("seen", HALF, ["n", 3]))
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


def test_it_computes_the_same_in_float32() -> None:
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float16)
    ids = np.arange(15).reshape(5, 3)
    model = halves()
    before = model.SerializeToString()
    (wanted,) = onnx_files.onnx_session.start(before, 1).run(None, {"x": x, "ids": ids})
    wide = widen(model)
    feeds = {"x": x.astype(np.float32), "ids": ids}
    (made,) = onnx_files.onnx_session.start(wide.SerializeToString(), 1).run(None, feeds)
    assert made.dtype == np.float32 and wanted.dtype == np.float16
    np.testing.assert_allclose(made, wanted.astype(np.float32), rtol=2e-3)
    assert model.SerializeToString() == before


def test_nothing_of_it_is_float16_and_its_batch_is_fixed() -> None:
    fixed = fixed_batch.fix(halves(), 2)
    kinds = {value.type.tensor_type.elem_type for value in (*fixed.graph.input, *fixed.graph.output)}
    assert kinds == {FLOAT, onnx.TensorProto.INT64}
    assert all(weight.data_type == FLOAT for weight in fixed.graph.initializer)
    assert [port.shape for port in onnx_files.inputs_of(fixed)] == [(2, 4), (2, 3)]
    assert [port.shape for port in onnx_files.outputs_of(fixed)] == [(2, 3)]
