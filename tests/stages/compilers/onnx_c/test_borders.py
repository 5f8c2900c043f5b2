# environment: wasm
"""Borders, with a convolution that asks for one and reads it without looking where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from recast.stages.compilers.onnx_c.compile import Options, generate
from recast.stages.compilers.onnx_c.graph import Graph, Node, Tensor
from recast.stages.compilers.onnx_c.kernels import catalog
from recast.stages.compilers.onnx_c.kernels.base import ANY, CHANNELS_LAST, Call, Need, Needs
from recast.stages.compilers.onnx_c.kernels.generic import conv
from tests.lib.onnx_c.modules import load
from tests.lib.onnx_models import initializer, model
from tests.stages.compilers.onnx_c.test_random_graphs import check

node = onnx.helper.make_node


class Unchecked(conv.Conv):
    """The generic Conv without bounds checks."""

    name = "unchecked"

    def needs(self, node: Node, graph: Graph) -> Needs:
        border = Need("channels_last", tuple(node.attributes.get("pads", (0, 0, 0, 0))))
        return Needs((border, *(ANY,) * (len(node.inputs) - 1)), (CHANNELS_LAST,), (ANY,) * len(node.epilogue))

    def emit(self, call: Call) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conv, "inside", lambda *_: "")
            return super().emit(call)


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "CANDIDATES", (Unchecked(), *catalog.GENERIC))


def test_random_graphs_with_borders_agree_with_onnxruntime(tmp_path: Path) -> None:
    assert check(range(1000, 1018), True, tmp_path)["Conv"] > 12


def test_a_border_that_other_buffers_overwrite_is_cleared(tmp_path: Path) -> None:
    """Two shapes of tensors in turn, so that buffers with a border are used again for others."""
    shrink, grow = np.ones((2, 3, 3, 3)) / 9, np.ones((3, 2, 3, 3)) / 9
    nodes = []
    for step in range(4):
        source = "image" if step == 0 else f"t{step}"
        nodes.append(node("Conv", [source, "shrink"], [f"s{step}"], pads=[1, 2, 1, 0]))
        nodes.append(node("Softmax", [f"s{step}"], [f"p{step}"], axis=3))
        nodes.append(node("Conv", [f"p{step}", "grow"], [f"t{step + 1}"], pads=[2, 1, 0, 1]))
    made = model(nodes, [initializer("shrink", shrink), initializer("grow", grow)], (1, 3, 5, 6), outputs=("t4",))
    bordered = generate(made)
    assert bordered.report["borders_cleared"] > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "CANDIDATES", catalog.GENERIC)
        checked = generate(made, Options(prefix="checked"))
    assert checked.report["borders_cleared"] == 0
    module = load([bordered, checked], True, tmp_path)
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(1, 3, 5, 6)).astype(np.float32)
        np.testing.assert_allclose(module.run(bordered, [x])[0], module.run(checked, [x])[0], rtol=1e-5, atol=1e-6)


def test_a_border_lies_around_the_interior() -> None:
    tensor = Tensor("x", (1, 3, 4, 5), "float32", layout="channels_last", border=(1, 2, 3, 4))
    assert tensor.padded_shape == (1, 3, 8, 11)
    assert tensor.strides == (8 * 11 * 3, 1, 11 * 3, 3)
    assert tensor.offset == (1 * 11 + 2) * 3
    assert tensor.memory_size == 8 * 11 * 3
