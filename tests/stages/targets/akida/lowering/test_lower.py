# environment: akida
"""What Akida has not is rewritten to what it has, and computes the same: each rule, before and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import inputs, obstacles
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida.graph import sized
from recast.stages.targets.akida.lowering import lower
from tests.lib.contracts import contract
from tests.lib.faults import Weights

C = 4
Built = Callable[[Weights], str]
IMAGE, SIGNAL, NHWC = (1, 8, 8), (2, 16), (8, 6, 3)


def stem(net: Weights) -> str:
    return net.add("Relu", "stem.relu", [net.conv("stem", "image", 1, C, pads=[1, 1, 1, 1])])


def conv(net: Weights, x: str, shape: tuple[int, ...], channels: int = C, **attributes: Any) -> str:
    """A convolution of any kernel with a ReLU."""
    values = np.random.default_rng(1).normal(0, 0.3, (C, channels, *shape))
    return net.add(
        "Relu", f"{x}.relu", [net.add("Conv", f"{x}.conv", [x, net.weight(f"{x}.weight", values)], **attributes)]
    )


def pool(net: Weights, x: str, kernel: int, stride: int, **attributes: Any) -> str:
    return net.add("MaxPool", f"{x}.pool", [x], kernel_shape=[kernel] * 2, strides=[stride] * 2, **attributes)


def behind(net: Weights, x: str) -> str:
    """A last convolution of 1x1."""
    return net.conv("head", x, C, 3, 1)


def mean(net: Weights, x: str) -> str:
    return net.add("Flatten", "means", [net.add("GlobalAveragePool", "gap", [x])])


def residual_norm(net: Weights) -> str:
    x = stem(net)
    made = conv(net, net.add("Relu", "norm.relu", [net.norm("norm", x, C)]), (3, 3), pads=[1, 1, 1, 1])
    return behind(net, net.add("Add", "sum", [x, made]))


def pooled_stem(net: Weights) -> str:
    x = pool(net, stem(net), 2, 2)
    made = conv(net, conv(net, x, (3, 3), pads=[1, 1, 1, 1]), (3, 3), pads=[1, 1, 1, 1])
    return behind(net, net.add("Relu", "block.relu", [net.add("Add", "sum", [x, made])]))


def signal(net: Weights) -> str:
    x = conv(net, "image", (5,), 2, pads=[2, 2])
    x = net.add("MaxPool", "pool", [x], kernel_shape=[2], strides=[2])
    x = conv(net, x, (3,), pads=[2, 2], dilations=[2])
    return net.linear("scores", mean(net, x), C, 3)


def signal_out(net: Weights) -> str:
    return conv(net, conv(net, "image", (5,), 2, pads=[2, 2]), (1,))


def nhwc(net: Weights) -> str:
    x = net.add("Transpose", "channels_first", ["image"], perm=[0, 3, 1, 2])
    x = net.conv("head", x, 3, 5, 3, pads=[1, 1, 1, 1])
    return net.add("Flatten", "scores", [net.add("Transpose", "channels_last", [x], perm=[0, 2, 3, 1])], axis=1)


def mirrored(mode: str, opset_18: bool = False) -> Built:
    """A first layer that reads what is padded by values of the image."""

    def build(net: Weights) -> str:
        sides = [1, 2, 0, 2] if opset_18 else [0, 0, 1, 2, 0, 0, 0, 2]
        amounts = [net.numbers("sides", sides)]
        amounts += ["", net.numbers("axes", [2, 3])] if opset_18 else []
        made = net.add("Pad", "mirror", ["image", *amounts], mode=mode)
        return behind(net, net.add("Relu", "relu", [net.conv("stem", made, 1, C)]))

    return build


def shuffled(mode: str) -> Built:
    def build(net: Weights) -> str:
        return net.add("DepthToSpace", "shuffled", [net.conv("head", stem(net), C, 8, 1)], blocksize=2, mode=mode)

    return build


def transposed(shape: tuple[int, int], *, depthwise: bool = False, **attributes: Any) -> Built:
    """A transposed convolution with stride 2, a ReLU and the last layer behind it."""

    def build(net: Weights) -> str:
        values = np.random.default_rng(1).normal(0, 0.3, (C, 1 if depthwise else C, *shape))
        given = {"strides": [2, 2], **({"group": C} if depthwise else {}), **attributes}
        made = net.add("ConvTranspose", "up", [stem(net), net.weight("up.weight", values)], **given)
        return behind(net, net.add("Relu", "up.relu", [made]))

    return build


REWRITTEN: dict[str, tuple[Built, tuple[int, ...], str]] = {
    "a transposed kernel of 3": (
        transposed((3, 3), pads=[1] * 4, output_padding=[1, 1]),
        IMAGE,
        "its transposed kernel of 3x3 as one of 4x4",
    ),
    "a transposed kernel of 3, padded alike": (
        transposed((3, 3), auto_pad="SAME_LOWER"),
        IMAGE,
        "its transposed kernel of 3x3 as one of 4x4",
    ),
    "a transposed kernel of 2": (transposed((2, 2)), IMAGE, "its transposed kernel of 2x2 as one of 3x3"),
    "a transposed kernel of 2 for each channel": (
        transposed((2, 2), depthwise=True),
        IMAGE,
        "its transposed kernel of 2x2 as one of 3x3",
    ),
    "a rectangular transposed kernel": (
        transposed((4, 2), pads=[1, 0, 1, 0]),
        IMAGE,
        "its transposed kernel of 4x2 as one of 4x4",
    ),
    "a transposed kernel of 5": (
        transposed((5, 5), pads=[2] * 4, output_padding=[1, 1]),
        IMAGE,
        "its transposed kernel of 5x5 as one of 6x6",
    ),
    "a rectangular kernel": (
        lambda net: behind(net, conv(net, stem(net), (3, 5), pads=[1, 2, 1, 2])),
        IMAGE,
        "its kernel of 3x5, padded by (1, 2, 1, 2) (top, left, bottom, right), as a kernel of 5x5",
    ),
    "an even kernel": (
        lambda net: behind(net, conv(net, stem(net), (2, 2), pads=[0, 0, 1, 1])),
        IMAGE,
        "as a kernel of 3x3",
    ),
    "padding on one side": (
        lambda net: behind(net, conv(net, stem(net), (3, 3), pads=[2, 2, 0, 0])),
        IMAGE,
        "as a kernel of 5x5",
    ),
    "a dilation": (
        lambda net: behind(net, conv(net, stem(net), (3, 3), pads=[2, 2, 2, 2], dilations=[2, 2])),
        IMAGE,
        "as a kernel of 5x5",
    ),
    "groups": (
        lambda net: behind(net, conv(net, stem(net), (3, 3), C // 2, pads=[1, 1, 1, 1], group=2)),
        IMAGE,
        "its 2 groups as a kernel of 3x3",
    ),
    "a pool padded at its start": (
        lambda net: behind(net, conv(net, pool(net, stem(net), 3, 2, pads=[1, 1, 1, 1]), (3, 3), pads=[1, 1, 1, 1])),
        IMAGE,
        "as pools of 2x2 with a convolution between that moves by one pixel",
    ),
    "a pool that rounds up": (
        lambda net: behind(net, pool(net, stem(net), 3, 2, ceil_mode=1)),
        IMAGE,
        "its size rounded up as padding",
    ),
    "a pool behind a pool": (
        lambda net: behind(net, pool(net, pool(net, stem(net), 2, 2), 2, 2)),
        IMAGE,
        "a convolution in front that changes nothing",
    ),
    "a pool behind an unpadded convolution": (
        lambda net: behind(net, pool(net, conv(net, stem(net), (3, 3)), 2, 2)),
        IMAGE,
        "a convolution in front that changes nothing",
    ),
    "a pool behind padding with a stride": (
        lambda net: behind(net, pool(net, conv(net, stem(net), (3, 3), pads=[1] * 4, strides=[2, 2]), 2, 2)),
        IMAGE,
        "a convolution in front that changes nothing",
    ),
    "a local average": (
        lambda net: behind(net, net.add("AveragePool", "mean", [stem(net)], kernel_shape=[2, 2], strides=[2, 2])),
        IMAGE,
        "as a convolution of each channel by 1 / 4",
    ),
    "a pool that a sum reads": (pooled_stem, IMAGE, "a convolution behind that changes nothing"),
    "a norm in front of its convolution": (residual_norm, IMAGE, "as a convolution of each channel"),
    "an average at the end": (
        lambda net: mean(net, conv(net, stem(net), (3, 3), pads=[1, 1, 1, 1])),
        IMAGE,
        "a dense layer behind that changes nothing",
    ),
    **{f"padding by {mode} in front": (mirrored(mode), IMAGE, "") for mode in ("reflect", "edge")},
    "padding by reflect of some axes": (mirrored("reflect", opset_18=True), IMAGE, ""),
    "signals": (signal, SIGNAL, "signals of shape (2, 16) as maps of height 1"),
    "signals at the end": (signal_out, SIGNAL, "signals of shape (2, 16) as maps of height 1"),
    "channels last": (nhwc, NHWC, ""),
    "pixels shuffled": (shuffled("CRD"), IMAGE, ""),
    "pixels shuffled otherwise": (shuffled("DCR"), IMAGE, ""),
}
LEFT: dict[str, Built] = {
    "plain": lambda net: behind(net, pool(net, stem(net), 2, 2)),
    "a signed pool padded at its start": lambda net: behind(
        net, pool(net, net.conv("mid", stem(net), C, C, pads=[1, 1, 1, 1]), 3, 2, pads=[1, 1, 1, 1])
    ),
    "a padding that grows": lambda net: behind(net, conv(net, stem(net), (3, 3), pads=[2, 2, 2, 2])),
    "a transposed kernel of 4": transposed((4, 4), pads=[1] * 4),
    "a transposed kernel of 3 with Akida's padding": transposed((3, 3), pads=[0, 0, 1, 1]),
    "a transposed kernel of 6": transposed((6, 6), pads=[2] * 4),
    "a transposed kernel that makes one more": transposed((3, 3)),
    "unequal strides": lambda net: behind(net, conv(net, stem(net), (3, 3), pads=[1, 1, 1, 1], strides=[2, 1])),
}


def network(build: Built, shape: tuple[int, ...]) -> Any:
    import onnx

    net = Weights(0)
    made = net.model("network", shape, 1, build(net))
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(made)


@pytest.mark.parametrize("name", REWRITTEN)
def test_it_is_rewritten_and_computes_the_same(name: str) -> None:
    build, shape, said = REWRITTEN[name]
    before = network(build, shape)
    found = lower.lower(before, shape, {}, 1)
    assert any(said in one for one in found.done) if said else not found.layout.is_plain
    x = np.random.default_rng(3).normal(0, 1, (3, *shape)).astype(np.float32)
    expected = onnx_files.Session(before, 1).run(x)
    made = onnx_files.Session(found.model, 1).run(np.ascontiguousarray(layouts.apply(x, found.layout.start)))
    actual = layouts.apply(made, found.layout.finish)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    assert not list(obstacles.faults(sized(found.model, found.layout.takes), {}))
    # as JSON has it, and back
    assert layouts.read(found.layout.as_json()) == found.layout


@pytest.mark.parametrize("name", LEFT)
def test_nothing_else_is_touched(name: str) -> None:
    before = network(LEFT[name], IMAGE)
    found = lower.lower(before, IMAGE, {}, 1)
    assert found.model is before and not found.done and found.layout.is_plain


def test_a_rule_that_computes_something_else_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Any) -> str:
        node = next((one for one in graph.model.graph.node if one.op_type == "Relu"), None)
        if node is None:
            return ""
        node.op_type = "Neg"
        return "a ReLU as its negative"

    monkeypatch.setattr(lower, "RULES", (wrong,))
    with pytest.raises(StageError, match="the model as rewritten for Akida computes something else: a value differs"):
        lower.lower(network(LEFT["plain"], IMAGE), IMAGE, {}, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", REWRITTEN)
def test_the_tools_take_it(tmp_path: Path, name: str) -> None:
    build, shape, _ = REWRITTEN[name]
    found = lower.lower(network(build, shape), shape, {}, 1)
    takes = contract("random", found.layout.takes, "float32", 1.0, (0.0,), (1.0,))
    tried = inputs.attempt([inputs.Kind("normalised", "int8")], found.model, takes, inputs.Wanted(), 1, tmp_path)
    assert [one.refusal for one in tried] == [None]
    if name.startswith(("a transposed kernel of 2", "a transposed kernel of 3", "a pool that a sum reads")):
        assert tried[0].cost == 0, tried[0].software
