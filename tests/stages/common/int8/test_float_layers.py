# environment: onnx
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from recast.stages.common.int8 import activation_ranges, float_layers, qdq_model, qdq_scheme
from recast.stages.common.onnx_models import onnx_files, onnx_session
from tests.lib.onnx_models import initializer, model
from tests.lib.onnxruntime_chain import SCHEME, prepared

RANDOM = np.random.default_rng(7)
X = RANDOM.uniform(0, 1, (32, 1, 8, 8)).astype(np.float32)
LAYERS = {
    "Conv": {"pads": [1, 1, 1, 1]},
    "Conv of groups": {"group": 2},
    "ConvTranspose": {},
    "Gemm": {},
    "Gemm, transposed": {"transB": 1},
}
SHAPES = {"Conv": (6, 4, 3, 3), "Conv of groups": (6, 2, 3, 3), "ConvTranspose": (4, 6, 3, 3)}


def network(layer: str) -> Any:
    """An integer layer, the one that stays in float, one beside it that reads the same, and an integer one behind."""
    node = helper.make_node
    flat = layer.startswith("Gemm")
    shape = SHAPES.get(layer, (64, 6) if layer == "Gemm" else (6, 64))
    kind = layer.split()[0].rstrip(",")
    beside = shape if kind != "Conv" else (6, 4, 3, 3)
    weights = {
        "w1": RANDOM.normal(size=(4, 1, 3, 3)) if not flat else RANDOM.normal(size=(64, 64)) / 8,
        "w2": RANDOM.normal(size=shape) * np.geomspace(1, 30, 6).reshape([6 if size == 6 else 1 for size in shape]),
        "b2": RANDOM.normal(size=6),
        "w3": RANDOM.normal(size=(4, 6)),
        "w4": RANDOM.normal(size=beside),
    }
    first = [node("Flatten", ["image"], ["row"], "row")] if flat else []
    own = {"pads": [1, 1, 1, 1]} if kind == "Conv" else LAYERS[layer]
    nodes = [
        *first,
        node("Gemm", ["row", "w1"], ["one"], "first") if flat else node("Conv", ["image", "w1"], ["one"], "first"),
        node("Relu", ["one"], ["positive"], "relu_1"),
        node(kind, ["positive", "w2", "b2"], ["two"], "middle", **LAYERS[layer]),
        node("Relu", ["two"], ["more"], "relu_2"),
        node(kind, ["positive", "w4"], ["aside"], "beside", **own),
        node("GlobalAveragePool" if not flat else "Identity", ["more"], ["mean"], "mean"),
        node("GlobalAveragePool" if not flat else "Identity", ["aside"], ["mean_aside"], "mean_aside"),
        node("Add", ["mean", "mean_aside"], ["sum"], "sum"),
        node("Flatten", ["sum"], ["flat"], "flatten"),
        node("Gemm", ["flat", "w3"], ["scores"], "head", transB=1),
    ]
    return model(nodes, [initializer(name, values) for name, values in weights.items()])


def int8_of(made: Any, floats: tuple[str, ...]) -> Any:
    params = qdq_scheme.QuantizeParams(nodes_to_exclude=floats)
    scheme = {**SCHEME, "quantized": qdq_scheme.quantizable(params, made), "float": []}
    ranges = activation_ranges.find(made, X, activation_ranges.Method("minmax", 99.9), 16, threads=1)
    return qdq_model.with_pairs(made, scheme, ranges, X[:1])


def run(made: Any, mode: Any) -> Any:
    return onnx_session.start(made.SerializeToString(), 1, mode).run(None, {"image": X})[0]


def middle(made: Any) -> tuple[str, ...]:
    names = [node.name for node in made.graph.node]
    assert "middle" in names
    return tuple(name for name in names if name in ("middle", "relu_2"))


@pytest.mark.parametrize("layer", LAYERS)
def test_what_is_to_stay_in_float_does_so_in_the_runtime(tmp_path: Path, layer: str) -> None:
    made = prepared(network(layer), tmp_path)
    int8 = int8_of(made, middle(made))
    meant = run(int8, "as_written")
    # what it is for: onnxruntime makes integers of the layer
    assert np.abs(run(int8, "as_shipped") - meant).max() > 1e-3 * np.abs(meant).max()
    assert float_layers.keep(int8) == 1
    onnx_files.check(int8, "the int8 model")
    assert np.array_equal(run(int8, "as_written"), meant)
    step = np.abs(meant).max() / 100  # the output is quantized: a float sum in another order may be a step off
    found = run(int8, "as_shipped")
    assert np.abs(found - meant).max() < step and (found == meant).mean() > 0.95


def test_a_model_without_such_layers_stays_as_it_is(tmp_path: Path) -> None:
    made = prepared(network("Conv"), tmp_path)
    int8 = int8_of(made, ())
    before = int8.SerializeToString()
    assert float_layers.keep(int8) == 0 and int8.SerializeToString() == before


def test_several_layers_may_read_the_same_integers(tmp_path: Path) -> None:
    made = prepared(network("Conv"), tmp_path)
    int8 = int8_of(made, (*middle(made), "beside"))
    meant = run(int8, "as_written")
    assert float_layers.keep(int8) == 2
    onnx_files.check(int8, "the int8 model")
    # the pair that both have read through is gone
    read = {name for node in int8.graph.node for name in node.input}
    assert all(
        node.output[0] in read
        for node in int8.graph.node
        if node.op_type == "DequantizeLinear" and node.output[0] != "scores"
    )
    assert np.array_equal(run(int8, "as_written"), meant)


def test_what_a_branch_reads_stays(tmp_path: Path) -> None:
    """A branch of an If takes tensors from around it, without naming them among the node's inputs."""
    made = prepared(network("Conv"), tmp_path)
    int8 = int8_of(made, (*middle(made), "beside"))
    shared = next(node.input[0] for node in int8.graph.node if node.name == "middle")
    branch = helper.make_graph(
        [helper.make_node("Identity", [shared], ["taken"])],
        "branch",
        [],
        [helper.make_tensor_value_info("taken", 1, None)],
    )
    int8.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    int8.graph.node.append(helper.make_node("If", ["always"], ["seen"], "if", then_branch=branch, else_branch=branch))
    int8.graph.output.append(helper.make_tensor_value_info("seen", 1, None))
    meant = run(int8, "as_written")
    assert float_layers.keep(int8) == 2
    assert np.array_equal(run(int8, "as_written"), meant)
