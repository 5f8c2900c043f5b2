# environment: wasm
"""What ONNX's node tests leave out: Cast among the compiler's dtypes, and operators as older opsets write them."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from recast.stages.common.onnx_models import onnx_session
from recast.stages.compilers.onnx_c.compile import Options, generate
from recast.stages.compilers.onnx_c.graph import C_TYPES
from tests.lib.onnx_c.modules import load
from tests.lib.onnx_models import initializer, model

node = onnx.helper.make_node


def _reference(made: Any, name: str, x: Any) -> Any:
    session = onnx_session.start(made.SerializeToString(), 1, "as_written")
    return session.run(None, {name: x})[0]


def test_cast_between_all_dtypes(tmp_path: Path) -> None:
    pairs = list(permutations(C_TYPES, 2))
    values = np.array([0, 1, -1, 1.5, -1.5, 2.5, 100.7, -100.7, 127.9, 300, -300, 70000, -70000, 5e9, -5e9])
    made, sources = [], []
    for index, (source, target) in enumerate(pairs):
        kinds = [onnx.helper.np_dtype_to_tensor_dtype(np.dtype(each)) for each in (source, target)]
        graph = onnx.helper.make_graph(
            [node("Cast", ["x"], ["y"], to=kinds[1])],
            "cast",
            [onnx.helper.make_tensor_value_info("x", kinds[0], [len(values)])],
            [onnx.helper.make_tensor_value_info("y", kinds[1], [len(values)])],
        )
        made.append(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8))
        sources.append(generate(made[-1], Options(prefix=f"cast{index}")))
    module = load(sources, False, tmp_path)
    for (source, target), each, generated in zip(pairs, made, sources, strict=True):
        if source == "float32":
            # out of the target's range, ONNX leaves the result open; within it, toward zero
            limits = (0, 1) if target == "bool" else (np.iinfo(target).min, np.iinfo(target).max)
            inside = (values > max(limits[0], -1e10) - 1) & (values < min(limits[1], 1e10))
            x = np.where(inside | (target == "bool"), values, 0).astype(np.float32)
        else:
            x = values.astype(np.int64).astype(source)
        np.testing.assert_array_equal(
            module.run(generated, [x])[0], _reference(each, "x", x), err_msg=f"{source} to {target}"
        )


def test_a_float_out_of_range_saturates_where_c_leaves_it_open(tmp_path: Path) -> None:
    made = model([node("Cast", ["image"], ["scores"], to=onnx.TensorProto.INT64)], [], (6,), outputs=("scores",))
    made.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.INT64, [6]))
    source = generate(made)
    x = np.array([1e30, -1e30, np.inf, -np.inf, 3e9, -3e9], np.float32)
    (found,) = load([source], True, tmp_path).run(source, [x])
    assert found.tolist()[4:] == [3_000_000_000, -3_000_000_000]
    assert (found[[0, 2]] > 9.2e18).all() and (found[[1, 3]] == np.iinfo(np.int64).min).all()


OLDER = {
    "softmax over all trailing axes": ([node("Softmax", ["image"], ["scores"], axis=1)], 11),
    "log softmax": ([node("LogSoftmax", ["image"], ["scores"], axis=2)], 11),
    "axes as an attribute": (
        [node("Unsqueeze", ["image"], ["a"], axes=[0, 3]), node("Squeeze", ["a"], ["scores"], axes=[0, 2])],
        11,
    ),
    "sums": ([node("ReduceSum", ["image"], ["scores"], axes=[-1, 1], keepdims=0)], 11),
    "means": ([node("ReduceMean", ["image"], ["scores"], axes=[2, 3])], 13),
    "split": (
        [node("Split", ["image"], ["a", "b"], axis=3, split=[3, 5]), node("Concat", ["b", "a"], ["scores"], axis=3)],
        11,
    ),
    "slice": ([node("Slice", ["image"], ["scores"], starts=[1, -6], ends=[9, -1], axes=[2, 3])], 9),
    "slice of the first axes": ([node("Slice", ["image"], ["scores"], starts=[1], ends=[2])], 9),
    "pad": ([node("Pad", ["image"], ["scores"], pads=[0, 0, 1, 0, 0, 0, 2, 3], value=0.5)], 10),
    "clip with attributes": ([node("Clip", ["image"], ["scores"], min=-0.5, max=0.25)], 10),
    "clip without limits": ([node("Clip", ["image"], ["scores"])], 12),
    "clip with one limit": ([node("Clip", ["image", "", "one"], ["scores"])], 11),
    "dropout": ([node("Dropout", ["image"], ["a"], ratio=0.3), node("Relu", ["a"], ["scores"])], 11),
    "dropout with inputs": ([node("Dropout", ["image", "ratio", "no"], ["a"]), node("Neg", ["a"], ["scores"])], 13),
    "resize": (
        [node("Resize", ["image", "roi", "scales"], ["scores"], mode="linear",
              coordinate_transformation_mode="pytorch_half_pixel")],
        11,
    ),
    "sizes": ([node("Resize", ["image", "roi", "empty", "sizes"], ["scores"], mode="nearest")], 13),
    "flat": ([node("Flatten", ["image"], ["scores"], axis=-1)], 13),
    "average pool": ([node("AveragePool", ["image"], ["scores"], kernel_shape=[3, 3], pads=[1] * 4)], 11),
    "a shape computed from a shape": (
        [
            node("Shape", ["image"], ["s"]), node("Gather", ["s", "zero"], ["n"], axis=0),
            node("Unsqueeze", ["n"], ["row"], axes=[0]), node("Concat", ["row", "minus"], ["shape"], axis=0),
            node("Reshape", ["image", "shape"], ["scores"]),
        ],
        12,
    ),
    "one axis": (
        [node("Reshape", ["image", "line"], ["a"]), node("Conv", ["a", "w"], ["scores"], pads=[2, 1], dilations=[2])],
        11,
    ),
}  # fmt: skip


def test_operators_as_older_opsets_write_them(tmp_path: Path) -> None:
    weights = [
        initializer("one", 1.0), initializer("ratio", 0.5),
        initializer("no", False, bool), initializer("roi", []), initializer("empty", []),
        initializer("scales", [1, 1, 2, 1.5]), initializer("sizes", [2, 1, 5, 13], np.int64),
        initializer("zero", 0, np.int64), initializer("minus", [-1], np.int64),
        initializer("line", [2, 4, 16], np.int64), initializer("w", np.linspace(-1, 1, 5 * 4 * 3).reshape(5, 4, 3)),
    ]  # fmt: skip
    made = {}
    for what, (nodes, opset) in OLDER.items():
        used = {name for each in nodes for name in each.input}
        made[what] = model(nodes, [each for each in weights if each.name in used], (2, 1, 8, 8), opset)
        made[what].graph.output[0].ClearField("type")
        made[what] = onnx.shape_inference.infer_shapes(made[what])
    sources = [generate(each, Options(prefix=f"older{index}")) for index, each in enumerate(made.values())]
    module = load(sources, True, tmp_path)
    x = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype(np.float32)
    for (what, each), source in zip(made.items(), sources, strict=True):
        np.testing.assert_allclose(
            module.run(source, [x])[0], _reference(each, "image", x), rtol=1e-5, atol=1e-6, err_msg=what
        )
