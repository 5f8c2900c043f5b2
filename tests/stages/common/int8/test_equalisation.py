# environment: onnx
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from recast.stages.common.int8 import equalisation
from recast.stages.common.onnx_models import onnx_files, onnx_session
from recast.stages.parity.metrics import difference
from tests.lib.onnx_models import cnn, initializer, model
from tests.lib.onnxruntime_chain import int8, layers_at_fault, measured, prepared

X = np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32)
RANDOM = np.random.default_rng(1)
SPREAD = 10.0 ** RANDOM.permutation(np.linspace(-1.5, 1.5, 8))


class Net:
    """Nodes one after another, each of which reads the one before."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.last = "image"

    def node(self, kind: str, *weights: Any, **attributes: Any) -> Net:
        names = []
        for values in weights:
            names.append(f"w{len(self.weights)}")
            kind_of = np.int64 if np.asarray(values).dtype.kind == "i" else np.float32
            self.weights.append(initializer(names[-1], values, kind_of))
        made = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *names], [made], made, **attributes))
        self.last = made
        return self

    def built(self) -> Any:
        self.nodes[-1].output[0] = "scores"
        return model(self.nodes, self.weights)


def of(*shape: int) -> Any:
    return RANDOM.normal(size=shape)


def rows(weights: Any) -> Any:
    return weights * SPREAD.reshape(-1, *[1] * (weights.ndim - 1))


def columns(weights: Any) -> Any:
    return weights / SPREAD.reshape(1, -1, *[1] * (weights.ndim - 2))


SAME = {"pads": [1, 1, 1, 1]}


def convolutions() -> Any:
    net = Net().node("Conv", rows(of(8, 1, 3, 3)), rows(of(8)), **SAME).node("Relu")
    net.node("Conv", columns(of(4, 8, 3, 3)), of(4), **SAME).node("GlobalAveragePool").node("Flatten")
    return net.built()


def depthwise() -> Any:
    net = Net().node("Conv", of(8, 1, 3, 3), of(8), **SAME).node("LeakyRelu", alpha=0.1)
    net.node("Conv", rows(of(8, 1, 3, 3)), **SAME, group=8).node("Relu").node("MaxPool", kernel_shape=[2, 2])
    return net.node("Conv", columns(of(4, 8, 1, 1)), of(4)).node("GlobalMaxPool").node("Flatten").built()


def groups() -> Any:
    net = Net().node("Conv", rows(of(8, 1, 3, 3)), of(8), **SAME).node("Relu")
    wide = np.concatenate(
        [of(4, 4, 3, 3) / SPREAD[:4].reshape(1, 4, 1, 1), of(4, 4, 3, 3) / SPREAD[4:].reshape(1, 4, 1, 1)]
    )
    net.node("Conv", wide, of(8), **SAME, group=2).node("Relu")
    return net.node("Conv", of(4, 8, 1, 1)).node("GlobalMaxPool").node("Flatten").built()


def flattened(how: Callable[[Net], Net], trans: int) -> Any:
    net = Net().node("Conv", rows(of(8, 1, 3, 3)), rows(of(8)), **SAME).node("Relu")
    net.node("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    head = (of(4, 8, 16) / SPREAD.reshape(1, 8, 1)).reshape(4, 128)
    return how(net).node("Gemm", head if trans else head.T, of(4), transB=trans).built()


def products() -> Any:
    net = Net().node("Flatten").node("MatMul", rows(of(8, 64)).T).node("Relu")
    net.node("Gemm", columns(of(8, 8)).T, of(1, 8)).node("Relu")
    return net.node("MatMul", of(8, 4)).built()


def transposed() -> Any:
    net = Net().node("ConvTranspose", rows(of(8, 1, 2, 2)).swapaxes(0, 1), of(8), strides=[2, 2]).node("Relu")
    net.node("ConvTranspose", columns(of(4, 8, 2, 2)).swapaxes(0, 1), of(4))
    return net.node("GlobalAveragePool").node("Flatten").built()


def residual() -> Any:
    """A sum of three, and a mean as PyTorch exports it."""
    made = Net().node("Conv", rows(of(8, 1, 3, 3)), rows(of(8)), **SAME).node("Relu")
    made.node("Conv", rows(columns(of(8, 8, 3, 3))), rows(of(8)), **SAME)
    made.nodes.append(helper.make_node("Add", ["relu_1", "conv_2"], ["sum_1"], "sum_1"))
    made.last = "sum_1"
    made.node("Conv", rows(columns(of(8, 8, 1, 1))), group=1)
    made.nodes.append(helper.make_node("Sum", ["sum_1", "conv_4", "relu_1"], ["sum_2"], "sum_2"))
    made.last = "sum_2"
    made.node("Relu").node("ReduceMean", np.array([2, 3]), keepdims=0)
    return made.node("Gemm", (of(4, 8) / SPREAD), of(4), transB=1).built()


def gated() -> Any:
    """Squeeze and excite: the channels are read twice, and multiplied by a number each."""
    made = Net().node("Conv", rows(of(8, 1, 3, 3)), rows(of(8)), **SAME).node("Relu")
    made.node("GlobalAveragePool").node("Conv", columns(of(4, 8, 1, 1)), of(4)).node("Relu")
    made.node("Conv", of(8, 4, 1, 1)).node("Sigmoid")
    made.nodes.append(helper.make_node("Mul", ["relu_1", made.last], ["gated"], "gated"))
    made.last = "gated"
    return made.node("Conv", columns(of(4, 8, 3, 3)), of(4)).node("GlobalMaxPool").node("Flatten").built()


NETWORKS: dict[str, tuple[Callable[[], Any], int]] = {
    "convolutions": (convolutions, 1),
    "depthwise": (depthwise, 2),
    "groups": (groups, 2),
    "flatten": (lambda: flattened(lambda net: net.node("Flatten"), 1), 1),
    "reshape": (lambda: flattened(lambda net: net.node("Reshape", np.array([-1, 128])), 0), 1),
    "reshape of any size": (lambda: flattened(lambda net: net.node("Reshape", np.array([0, -1])), 1), 1),
    "products": (products, 2),
    "transposed": (transposed, 1),
    "residual": (residual, 1),
    "gated": (gated, 2),
}


def scores(made: Any, x: Any) -> Any:
    """As written: fused kernels may add in another order."""
    session = onnx_session.start(made.SerializeToString(), 1, "as_written")
    return session.run(None, {"image": x})[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_not_a_bit_of_the_scores_changes_and_int8_loses_less(tmp_path: Path, name: str) -> None:
    build, pairs = NETWORKS[name]
    made = prepared(build(), tmp_path)
    before = scores(made, X)
    equal = type(made)()
    equal.CopyFrom(made)
    assert equalisation.equalise(equal) == pairs
    onnx_files.check(equal, "the equalised model")
    assert np.array_equal(scores(equal, X), before)
    lost = [difference(before, scores(int8(one, tmp_path, X), X)).sqnr_db for one in (made, equal)]
    assert lost[1] > lost[0] + 1, lost
    # once more changes nothing
    again = type(made)()
    again.CopyFrom(equal)
    assert equalisation.equalise(again) == 0 and again == equal


def test_what_is_equalised_goes_by_another_name_and_no_layer_is_blamed_for_it(tmp_path: Path) -> None:
    made = prepared(convolutions(), tmp_path)
    equal = type(made)()
    equal.CopyFrom(made)
    equalisation.equalise(equal)
    names = {name for node in equal.graph.node for name in node.output}
    assert {"conv_0_equalised", "relu_1_equalised"} <= names and "conv_0" not in names
    found = measured({"simplified": made, "prepared": equal, "quantized": int8(equal, tmp_path, X)}, X)
    assert found["prepared"].blamed is None and not layers_at_fault(found["prepared"])
    assert found["prepared"].output.sqnr_db > 120


def shared_weight() -> Any:
    made = convolutions()
    made.graph.node.insert(2, helper.make_node("Conv", ["relu_1", "w2", "w3"], ["more"], "more", **SAME))
    made.graph.node.insert(3, helper.make_node("ReduceSum", ["more"], ["sum"], "sum", keepdims=0))
    return made


def shown() -> Any:
    made = convolutions()
    made.graph.output.append(helper.make_tensor_value_info("relu_1", 1, None))
    return made


def joined(kind: str, other: str) -> Any:
    """What the second convolution reads joined with another tensor first."""
    made = convolutions()
    made.graph.node.insert(2, helper.make_node(kind, ["relu_1", other], ["joined"], "joined"))
    made.graph.node[3].input[0] = "joined"
    return made


def sum_with_the_input() -> Any:
    return joined("Add", "image")


def sum_with_a_constant() -> Any:
    made = joined("Add", "one")
    made.graph.initializer.append(initializer("one", np.ones((8, 1, 1))))
    return made


def times_itself() -> Any:
    return joined("Mul", "conv_0")


def read_twice() -> Any:
    made = convolutions()
    made.graph.node.insert(2, helper.make_node("Neg", ["relu_1"], ["negative"], "negative"))
    return made


def bent() -> Any:
    net = Net().node("Conv", rows(of(8, 1, 3, 3)), rows(of(8)), **SAME).node("Sigmoid")
    return net.node("Conv", columns(of(4, 8, 3, 3)), of(4)).node("GlobalAveragePool").node("Flatten").built()


def batched_matrices() -> Any:
    net = Net().node("Conv", rows(of(8, 1, 3, 3)), rows(of(8)), **SAME).node("Relu").node("MatMul", of(8, 8, 4))
    return net.node("GlobalAveragePool").node("Reshape", np.array([2, 4])).built()


@pytest.mark.parametrize(
    "build",
    [shared_weight, shown, sum_with_the_input, sum_with_a_constant, times_itself, read_twice, bent, batched_matrices],
)
def test_what_cannot_be_scaled_alone_is_left_as_it_is(build: Callable[[], Any]) -> None:
    made = build()
    before = made.SerializeToString()
    assert equalisation.equalise(made) == 0
    assert made.SerializeToString() == before


def test_a_channel_of_zeros_keeps_them(tmp_path: Path) -> None:
    made = prepared(cnn(), tmp_path)
    weights = {one.name: one for one in made.graph.initializer}
    conv = next(node for node in made.graph.node if node.op_type == "Conv")
    values = numpy_helper.to_array(weights[conv.input[1]]).copy()
    values[0] = 0
    weights[conv.input[1]].CopyFrom(numpy_helper.from_array(values, conv.input[1]))
    before = scores(made, X)
    equalisation.equalise(made)
    assert np.array_equal(scores(made, X), before)
