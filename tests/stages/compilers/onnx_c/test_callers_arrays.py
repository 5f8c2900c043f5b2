# environment: wasm
"""The caller's arrays: what it gave is only read, and a second run on it gives the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from recast.stages.compilers.onnx_c.compile import Options, Sources, generate
from tests.lib.onnx_c import sanitized
from tests.lib.onnx_c.modules import load
from tests.lib.onnx_models import initializer

SHAPE = (1, 2, 3, 4)
FLAT = (1, 24)
node = onnx.helper.make_node


def integers(name: str, *values: int) -> Any:
    return initializer(name, values, np.int64)


VIEWS: dict[str, tuple[list[Any], list[Any]]] = {
    "reshape": ([node("Reshape", ["x", "to"], ["v"])], [integers("to", 1, 24)]),
    "flatten": ([node("Flatten", ["x"], ["v"])], []),
    "squeeze": ([node("Squeeze", ["x", "axes"], ["v"])], [integers("axes", 0)]),
    "unsqueeze": ([node("Unsqueeze", ["x", "axes"], ["v"])], [integers("axes", 0)]),
    "identity": ([node("Identity", ["x"], ["v"])], []),
    "dropout": ([node("Dropout", ["x"], ["v"])], []),
    "dropout told not to train": (
        [node("Dropout", ["x", "ratio", "training"], ["v"])],
        [initializer("ratio", 0.5), initializer("training", False, np.bool_)],
    ),
    "transpose that moves nothing": ([node("Transpose", ["x"], ["v"], perm=[0, 1, 2, 3])], []),
    "transpose of an axis of length 1": ([node("Transpose", ["x"], ["v"], perm=[1, 0, 2, 3])], []),
    "slice of all": (
        [node("Slice", ["x", "start", "end", "axes"], ["v"])],
        [integers("start", 0), integers("end", 99), integers("axes", 3)],
    ),
    "cast to the same type": ([node("Cast", ["x"], ["v"], to=1)], []),
    "split into one": ([node("Split", ["x", "sizes"], ["v"], axis=1)], [integers("sizes", 2)]),
    "concat of one": ([node("Concat", ["x"], ["v"], axis=1)], []),
    "expand to the same": ([node("Expand", ["x", "to"], ["v"])], [integers("to", 1, 2, 3, 4)]),
    "pad by nothing": ([node("Pad", ["x", "pads"], ["v"])], [integers("pads", *[0] * 8)]),
    "resize by 1": ([node("Resize", ["x", "", "scales"], ["v"])], [initializer("scales", [1, 1, 1, 1])]),
    "sum of one": ([node("Sum", ["x"], ["v"])], []),
    "max of one": ([node("Max", ["x"], ["v"])], []),
    "clip without limits": ([node("Clip", ["x"], ["v"])], []),
    "a view of a view": (
        [node("Flatten", ["x"], ["a"]), node("Reshape", ["a", "to"], ["b"]), node("Identity", ["b"], ["v"])],
        [integers("to", 2, 3, 4, 1)],
    ),
    "a pool of one element": ([node("MaxPool", ["x"], ["v"], kernel_shape=[1, 1])], []),
    "mean over axes of length 1": ([node("ReduceMean", ["x", "axes"], ["v"])], [integers("axes", 0)]),
}
"""name -> nodes that make v, which holds what x holds"""

USES: dict[str, tuple[list[Any], tuple[str, ...]]] = {
    "in place": ([node("Sub", ["v", "one"], ["y"])], ("y",)),
    "in place twice": ([node("Relu", ["v"], ["r"]), node("Sub", ["r", "one"], ["y"])], ("y",)),
    "softmax": ([node("Softmax", ["v"], ["y"], axis=-1)], ("y",)),
    "with itself": ([node("Mul", ["v", "v"], ["s"]), node("Neg", ["s"], ["y"])], ("y",)),
    "later": ([node("Neg", ["v"], ["n"]), node("Exp", ["n"], ["e"]), node("ReduceSum", ["e"], ["total"]),
               node("Mul", ["total", "v"], ["y"])], ("y",)),
    "as the output": ([], ("v",)),
    "as an output, then in place": ([node("Neg", ["v"], ["n"]), node("Sub", ["n", "one"], ["y"])], ("v", "y")),
    "as two outputs": ([node("Identity", ["v"], ["w"])], ("v", "w")),
    "beside the input": ([node("Abs", ["v"], ["y"])], ("y", "x")),
}  # fmt: skip
"""name -> nodes that read v, and the outputs"""


def model(nodes: list[Any], weights: list[Any], outputs: tuple[str, ...], shape: tuple[int, ...] = SHAPE) -> Any:
    graph = onnx.helper.make_graph(
        nodes,
        "views",
        [onnx.helper.make_tensor_value_info("x", 1, shape)],
        [onnx.helper.make_tensor_value_info(name, 1, None) for name in outputs],
        weights,
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


def of_the_input() -> dict[str, Any]:
    """Every view of the input, used in every way."""
    return {
        f"{view}, {use}": model([*made, *reading], [*weights, initializer("one", 1.0)], outputs)
        for view, (made, weights) in VIEWS.items()
        for use, (reading, outputs) in USES.items()
    }


def of_others() -> dict[str, Any]:
    """Views of a weight, of an output and of what lies between; and plain copies."""
    weight, one = initializer("w", np.arange(24).reshape(FLAT) / 7), initializer("one", 1.0)
    flat = node("Flatten", ["x"], ["f"])
    back = integers("to", 24)
    return {
        "a view of a weight": model([flat, node("Reshape", ["w", "to"], ["v"]),
                                     node("Neg", ["v"], ["n"]), node("Add", ["n", "f"], ["y"])],
                                    [weight, back], ("y",)),
        "a weight as an output": model([flat, node("Identity", ["w"], ["v"]), node("Add", ["v", "f"], ["y"])],
                                       [weight], ("y", "v", "w")),
        "a view of an output": model([node("Relu", ["x"], ["a"]), node("Flatten", ["a"], ["b"]),
                                      node("Neg", ["b"], ["c"]), node("Sub", ["c", "one"], ["y"])],
                                     [one], ("a", "y", "b", "c")),
        "two views of one tensor": model([node("Relu", ["x"], ["a"]), node("Flatten", ["a"], ["b"]),
                                          node("Reshape", ["a", "to"], ["c"]), node("Neg", ["b"], ["d"]),
                                          node("Exp", ["c"], ["e"]), node("Sub", ["d", "one"], ["y"])],
                                         [one, back], ("y", "e")),
        "a view read after its twin is used": model([node("Relu", ["x"], ["a"]), node("Flatten", ["a"], ["b"]),
                                                     node("Neg", ["a"], ["d"]), node("Flatten", ["d"], ["e"]),
                                                     node("Mul", ["e", "b"], ["y"])], [], ("y",)),
        "the input alone": model([node("Relu", ["x"], ["a"])], [], ("x", "a")),
        "an input twice in one step": model([flat, node("Reshape", ["f", "to"], ["v"]),
                                             node("Add", ["f", "v"], ["y"])], [integers("to", 1, 24)], ("y",)),
        "another shape of itself": model([node("Relu", ["x"], ["a"]), node("Reshape", ["a", "to"], ["row"]),
                                          node("Reshape", ["a", "tall"], ["column"]),
                                          node("Sub", ["row", "column"], ["y"])],
                                         [integers("to", 1, 24), integers("tall", 24, 1)], ("y",)),
    }  # fmt: skip


def compiled(models: dict[str, Any]) -> list[Sources]:
    return [generate(proto, Options(prefix=f"case{index}")) for index, proto in enumerate(models.values())]


def expected(proto: Any, x: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {**of_the_input(), **of_others()}


@pytest.fixture(scope="module")
def x() -> Any:
    return np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)


def test_the_c_leaves_what_it_is_given_and_runs_again(models: dict[str, Any], x: Any, tmp_path: Path) -> None:
    found = sanitized.run(compiled(models), [[x]] * len(models), tmp_path)
    for (name, proto), outputs in zip(models.items(), found, strict=True):
        for want, have in zip(expected(proto, x), outputs, strict=True):
            np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("simd", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_module_leaves_its_input_and_runs_again(models: dict[str, Any], x: Any, tmp_path: Path, simd: bool) -> None:
    sources = compiled(models)
    module = load(sources, simd, tmp_path)
    for (name, proto), source in zip(models.items(), sources, strict=True):
        for want, have in zip(expected(proto, x), module.run(source, [x]), strict=True):
            np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6, err_msg=name)
