# environment: akida
"""Where a graph can be cut, beside every region that there is, tried one after another."""

from __future__ import annotations

from collections.abc import Collection
from itertools import product

import numpy as np
import onnx
import pytest

from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida.hybrid.regions import Cuttable, Region, Tensor
from tests.lib.akida.hybrid_networks import NETWORKS
from tests.lib.faults import Weights

C = 4
MAP = Tensor((C, 8, 8), onnx_files.FLOAT)


def conv(net: Weights, name: str, x: str) -> str:
    return net.conv(name, x, C, C, pads=[1, 1, 1, 1])


def chain(net: Weights) -> str:
    return conv(net, "c", net.add("Relu", "b", [conv(net, "a", "image")]))


def residual(net: Weights) -> str:
    """A sum, behind which a chain goes on."""
    x = conv(net, "a", "image")
    return conv(net, "e", net.add("Add", "d", [conv(net, "c", conv(net, "b", x)), x]))


def past(net: Weights) -> str:
    """The input is read again at the end."""
    x = conv(net, "b", conv(net, "a", "image"))
    return net.add("Add", "c", [x, "image"])


def two_branches(net: Weights) -> str:
    left, right = conv(net, "b", conv(net, "a", "image")), conv(net, "d", conv(net, "c", "image"))
    return net.add("Concat", "e", [left, right], axis=1)


def weights_made_in_the_graph(net: Weights) -> str:
    """The second convolution's are a sum."""
    one = net.weight("one", np.ones((C, C, 3, 3)))
    made = net.add("Add", "sum", [one, one])
    return net.add("Conv", "c", [conv(net, "a", "image"), made], pads=[1, 1, 1, 1])


GRAPHS = {one.__name__: one for one in (chain, residual, past, two_branches, weights_made_in_the_graph)}


def graph(name: str) -> Cuttable:
    net = Weights(0)
    output = GRAPHS[name](net)
    made = net.model(name, (C, 8, 8), C, output)
    tensors = {"image": MAP}
    tensors |= {one: MAP for node in made.graph.node for one in node.output if one != "sum"}
    return Cuttable(made, tensors)


def made_by(cuttable: Cuttable, *names: str) -> frozenset[int]:
    return frozenset(cuttable.makers[name] for name in names)


def every_region(cuttable: Cuttable, within: Collection[int]) -> list[Region]:
    """By the definition: what `gives` depends on and is not in front of `start`, read nowhere else, reading no more."""
    found = []
    readers = {name: {one for one in cuttable.live if name in cuttable.read_by(one)} for name in cuttable.tensors}
    for start, gives in product(cuttable.tensors, cuttable.makers):
        if gives not in cuttable.tensors:
            continue
        nodes, pending = set[int](), [gives]
        while pending:
            name = pending.pop()
            if name != start and name in cuttable.makers:
                nodes.add(cuttable.makers[name])
                pending += cuttable.read_by(cuttable.makers[name])
        outside = {name for one in nodes for name in cuttable.read_by(one)} - {start}
        made = {name for one in nodes for name in cuttable.nodes[one].output}
        leaves = {name for name in made if not readers[name] <= nodes or name == cuttable.output}
        if nodes and outside <= made and leaves <= {gives} and nodes <= set(within):
            reads_start = any(start in cuttable.read_by(one) for one in nodes)
            found += [Region(start, gives, frozenset(nodes))] if reads_start else []
    return found


@pytest.mark.parametrize("name", GRAPHS)
def test_the_largest_regions_are_those_that_no_other_holds(name: str) -> None:
    cuttable = graph(name)
    for without in [None, *cuttable.live]:
        within = [one for one in cuttable.live if one != without]
        there = every_region(cuttable, within)
        assert set(cuttable.largest(within)) == {
            one for one in there if not any(one.nodes < other.nodes for other in there)
        }


def test_a_sum_is_cut_with_all_that_it_adds() -> None:
    cuttable = graph("residual")
    (whole,) = cuttable.largest(cuttable.live)
    assert whole == Region("image", "e", frozenset(cuttable.live))
    # without the layer that both branches read, the rest is one region still
    assert cuttable.largest(set(cuttable.live) - made_by(cuttable, "a")) == [
        Region("a", "e", made_by(cuttable, "b", "c", "d", "e"))
    ]
    # without one in a branch, the sum reads two tensors
    found = cuttable.largest(set(cuttable.live) - made_by(cuttable, "b"))
    assert {one.nodes for one in found} == {made_by(cuttable, name) for name in ("a", "c", "e")}


def test_nodes_that_make_weights_are_of_no_region() -> None:
    cuttable = graph("weights_made_in_the_graph")
    assert cuttable.makers["sum"] not in cuttable.live
    (whole,) = cuttable.largest(cuttable.live)
    assert whole.nodes == made_by(cuttable, "a", "c")


@pytest.mark.parametrize(
    ("tensor", "is_end"),
    [
        (Tensor((4,), onnx_files.FLOAT), True),
        (Tensor((4, 16), onnx_files.FLOAT), True),
        (Tensor((4, 8, 8), onnx_files.FLOAT), True),
        (Tensor((), onnx_files.FLOAT), False),
        (Tensor((4, 8, 8, 8), onnx_files.FLOAT), False),
        (Tensor((4,), onnx.TensorProto.INT64), False),
    ],
)
def test_parts_end_in_floats_of_up_to_three_axes(tensor: Tensor, is_end: bool) -> None:
    assert tensor.is_end is is_end
    net = Weights(0)
    made = net.model("chain", (C, 8, 8), C, chain(net))
    cuttable = Cuttable(made, {"image": MAP, "a": tensor, "b": MAP, "c": MAP})
    behind = set(cuttable.live) - made_by(cuttable, "a")
    assert [one.reads for one in cuttable.largest(behind)] == (["a"] if is_end else ["b"])


def test_multiplications_are_those_of_convolutions_and_products() -> None:
    cuttable = graph("residual")
    assert cuttable.macs(made_by(cuttable, "a")) == 8 * 8 * C * C * 3 * 3
    assert cuttable.macs(made_by(cuttable, "d")) == 0
    assert cuttable.macs(cuttable.live) == 4 * 8 * 8 * C * C * 3 * 3
    model = NETWORKS["embedding"].make()
    rows = Tensor((8,), onnx_files.FLOAT)
    tensors = {"image": MAP, **{name: rows for node in model.graph.node for name in node.output}}
    dense = Cuttable(model, {**tensors, "scores": Tensor((16,), onnx_files.FLOAT)})
    assert dense.macs(made_by(dense, "scores")) == 8 * 16
