# environment: akida
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import inputs, obstacles, quantize
from recast.stages.targets.akida.graph import sized
from recast.stages.targets.akida.layout import Layout
from recast.stages.targets.akida.lowering import lower
from tests.lib.faults import Weights
from tests.lib.onnx_models import CONTRACT, Workplace, write_data

C = 4
"""channels behind the stem, whose output is 8x8"""
Middle = Callable[[Weights, str], str]


def padded(size: int, **attributes: Any) -> Middle:
    def add(net: Weights, x: str) -> str:
        return net.add("Relu", "relu", [net.conv("mid", x, C, C, size, **attributes)])

    return add


def shaped(shape: tuple[int, int], **attributes: Any) -> Middle:
    def add(net: Weights, x: str) -> str:
        w = net.weight("mid.weight", np.random.default_rng(1).normal(0, 0.2, (C, C, *shape)))
        return net.add("Relu", "relu", [net.add("Conv", "mid", [x, w], **attributes)])

    return add


def pooled(kernel: list[int], strides: list[int], conv: dict[str, Any] | None = None, **attributes: Any) -> Middle:
    def add(net: Weights, x: str) -> str:
        x = padded(3, **(conv if conv is not None else {"pads": [1, 1, 1, 1]}))(net, x)
        return net.add("MaxPool", "pool", [x], kernel_shape=kernel, strides=strides, **attributes)

    return add


def activated(kind: str, **attributes: Any) -> Middle:
    def add(net: Weights, x: str) -> str:
        return net.add(kind, "act", [net.conv("mid", x, C, C, pads=[1, 1, 1, 1])], **attributes)

    return add


def pool_behind_leaky(net: Weights, x: str) -> str:
    return net.add("MaxPool", "pool", [activated("LeakyRelu")(net, x)], kernel_shape=[2, 2], strides=[2, 2])


def pool_twice(net: Weights, x: str) -> str:
    return net.add("MaxPool", "again", [pooled([2, 2], [2, 2])(net, x)], kernel_shape=[2, 2], strides=[2, 2])


def norm_behind_relu(net: Weights, x: str) -> str:
    return net.norm("norm", padded(3, pads=[1, 1, 1, 1])(net, x), C)


def product(net: Weights, x: str) -> str:
    return net.add("Mul", "product", [net.conv("mid", x, C, C, pads=[1, 1, 1, 1]), x])


def silu(net: Weights, x: str) -> str:
    x = net.conv("mid", x, C, C, pads=[1, 1, 1, 1])
    return net.add("Mul", "silu", [x, net.add("Sigmoid", "gate", [x])])


def clipped(low: float) -> Middle:
    def add(net: Weights, x: str) -> str:
        x = net.conv("mid", x, C, C, pads=[1, 1, 1, 1])
        return net.add("Clip", "act", [x, net.weight("low", np.array(low)), net.weight("high", np.array(6.0))])

    return add


def mirrored(net: Weights, x: str) -> str:
    w = net.weight("mid.weight", np.full((C, C, 3, 3), 0.1))
    amounts = net.numbers("sides", [0, 0, 1, 1, 0, 0, 1, 1])
    return net.add("Conv", "mid", [net.add("Pad", "mirror", [x, amounts], mode="reflect"), w])


def ending_in_pool(net: Weights, x: str) -> str:
    return net.add("AveragePool", "mean", [padded(3, pads=[1, 1, 1, 1])(net, x)], kernel_shape=[2, 2], strides=[2, 2])


def transposed(kernel: int, stride: int, groups: int = 1, **attributes: Any) -> Middle:
    def add(net: Weights, x: str) -> str:
        w = net.weight("mid.weight", np.random.default_rng(1).normal(0, 0.2, (C, C // groups, kernel, kernel)))
        made = net.add("ConvTranspose", "mid", [x, w], strides=[stride] * 2, group=groups, **attributes)
        return net.add("Relu", "relu", [made])

    return add


REFUSED: dict[str, tuple[Middle, str, str]] = {
    "transposed by three": (
        transposed(3, 3),
        "layer 'mid' (ConvTranspose): it has strides of 3x3, and Akida's transposed convolutions have 2x2",
        "double the size as often as it takes, by nn.ConvTranspose2d with stride=2",
    ),
    "transposed to one more": (
        transposed(3, 2),
        "layer 'mid' (ConvTranspose): it makes 17x17 of 8x8, and Akida's transposed convolutions make twice the height "
        "and width",
        "use kernel_size=4 with padding=1, or kernel_size=3 with padding=1 and output_padding=1",
    ),
    "transposed in groups": (
        transposed(4, 2, 2, pads=[1, 1, 1, 1]),
        "layer 'mid' (ConvTranspose): it has 2 groups, and Akida's convolutions have 1, or one for each channel",
        "use groups=1, or groups equal to the channels on both sides",
    ),
    "even kernel": (
        padded(2),
        "layer 'mid' (Conv): it has a kernel of 2x2, and those of Akida have an odd size behind the first layer",
        "use a kernel of 1, 3, 5 or 7",
    ),
    "rectangular kernel": (
        shaped((3, 5), pads=[1, 2, 1, 2]),
        "layer 'mid' (Conv): it has a kernel of 3x5, and Akida's are square",
        "make the kernel square",
    ),
    "unequal strides": (
        padded(3, pads=[1, 1, 1, 1], strides=[2, 1]),
        "layer 'mid' (Conv): it has strides of 2x1, and Akida's are equal",
        "make both strides equal",
    ),
    "stride of three": (
        padded(3, pads=[1, 1, 1, 1], strides=[3, 3]),
        "layer 'mid' (Conv): it has a stride of 3, and Akida's are 1 and 2",
        "use a stride of 1 or 2",
    ),
    "large kernel with stride": (
        padded(5, pads=[2, 2, 2, 2], strides=[2, 2]),
        "layer 'mid' (Conv): it has a kernel of 5x5 with stride 2, and those of Akida are 1x1 and 3x3 behind the first",
        "use a kernel of 3 with stride 2, or stride 1",
    ),
    "uneven padding": (
        padded(3, pads=[1, 0, 0, 1], strides=[2, 2]),
        "layer 'mid' (Conv): it pads by (1, 0, 0, 1) (top, left, bottom, right) for a kernel of 3x3 with stride 2, "
        "where Akida pads by (0, 0, 0, 0), (0, 0, 1, 1), (1, 1, 0, 0) or (1, 1, 1, 1)",
        "pad by nn.ZeroPad2d((0, 1, 0, 1)) in front, with padding=0",
    ),
    "wide padding": (
        padded(3, pads=[2, 2, 2, 2]),
        "it pads by (2, 2, 2, 2) (top, left, bottom, right) for a kernel of 3x3 with stride 1, where Akida pads by "
        "(0, 0, 0, 0) or (1, 1, 1, 1)",
        "pad by nn.ZeroPad2d((1, 1, 1, 1)) in front, with padding=0",
    ),
    "pool behind a padded stride": (
        pooled([2, 2], [2, 2], {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        "layer 'mid' (Conv): it pads by (1, 1, 1, 1) (top, left, bottom, right) for a kernel of 3x3 with stride 2, and "
        "no MaxPool can follow that on Akida",
        "pad by nn.ZeroPad2d((0, 1, 0, 1)) in front, with padding=0",
    ),
    "dilation": (
        padded(3, pads=[2, 2, 2, 2], dilations=[2, 2]),
        "layer 'mid' (Conv): it is dilated, and Akida's convolutions are not",
        "drop the dilation, or use a larger kernel",
    ),
    "padded pool": (
        pooled([3, 3], [2, 2], pads=[1, 1, 1, 1]),
        "MaxPool 'node_pool': it pads by (1, 1, 1, 1) (top, left, bottom, right) to pool 8x8 by 3x3 with stride 2, "
        "where Akida pads by (0, 0, 1, 1)",
        "use MaxPool2d(2) on an even size, which needs no padding",
    ),
    "pool that rounds up": (
        pooled([3, 3], [2, 2], {"pads": [1, 1, 1, 1]}, ceil_mode=1),
        "MaxPool 'node_pool': it rounds its size up, and Akida's pools do not",
        "set ceil_mode to False, and pad where need be",
    ),
    "rectangular pool": (
        pooled([2, 1], [2, 1]),
        "MaxPool 'node_pool': it pools 2x1 with strides of 2x1, and Akida's pools are square",
        "make kernel and stride of the pool square",
    ),
    "pool behind an unpadded convolution": (
        pooled([2, 2], [2, 2], {}),
        "MaxPool 'node_pool': it pools what an unpadded convolution gives, layer 'mid' (Conv), and Akida pools behind",
        "give that convolution padding=(kernel_size - 1) // 2",
    ),
    "pool behind an activation": (
        pool_behind_leaky,
        "MaxPool 'node_pool': it stands behind LeakyRelu 'node_act', and Akida pools only what a convolution gives",
        "put a convolution in front of the pool",
    ),
    "pool behind a pool": (
        pool_twice,
        "MaxPool 'node_again': it stands behind MaxPool 'node_pool', and Akida pools only what a convolution gives",
        "put a convolution in front of the pool",
    ),
    "local average": (
        ending_in_pool,
        "AveragePool 'node_mean': it averages 2x2, and Akida averages whole images only",
        "use nn.AdaptiveAvgPool2d(1), or MaxPool2d(2)",
    ),
    "norm behind an activation": (
        norm_behind_relu,
        "BatchNormalization 'node_norm': it normalises behind Relu 'node_relu', and on Akida that is part of the",
        "put the BatchNorm right behind a convolution or dense layer, before the activation",
    ),
    "product": (
        product,
        "Mul 'node_product': it multiplies what it computes, and Akida multiplies by weights only",
        "use Add or Concat in its place",
    ),
    "mirrored padding": (
        mirrored,
        "Pad 'node_mirror': it pads by reflect, and Akida with zeros",
        "use padding_mode='zeros', which is the default",
    ),
    "clip from below zero": (
        clipped(-1.0),
        "Clip 'node_act': it clips from -1, and Akida from 0",
        "use nn.ReLU or nn.ReLU6",
    ),
    "unknown operation": (
        activated("Elu"),
        "Elu 'node_act': it is an operation that Akida does not have",
        "use another operation than Elu",
    ),
}
TAKEN: dict[str, Middle] = {
    "transposed": transposed(4, 2, pads=[1, 1, 1, 1]),
    "transposed for each channel": transposed(3, 2, C, pads=[0, 0, 1, 1]),
    "same padding": padded(3, pads=[1, 1, 1, 1]),
    "padding at the end": padded(3, pads=[0, 0, 1, 1], strides=[2, 2]),
    "padding at the start": padded(3, pads=[1, 1, 0, 0], strides=[2, 2]),
    "even padding with stride": padded(3, pads=[1, 1, 1, 1], strides=[2, 2]),
    "no padding": padded(5),
    "pool": pooled([2, 2], [2, 2]),
    "clip from zero": clipped(0.0),
    "leaky": activated("LeakyRelu", alpha=0.1),
    "silu": silu,
}


def network(middle: Middle) -> Any:
    """A stem, the middle, and a head that fits whatever comes of it."""
    import onnx

    net = Weights(0)
    x = net.add("Relu", "stem.relu", [net.conv("stem", "image", 1, C, pads=[1, 1, 1, 1])])
    x = net.add("Flatten", "flat", [middle(net, x)])
    probe = net.model("probe", (1, 8, 8), 4, "flat")
    probe.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del probe.graph.output[0].type.tensor_type.shape.dim[:]
    flat = onnx_files.Session(probe, 1).run(np.zeros((1, 1, 8, 8), np.float32)).shape[1]
    net.linear("scores", x, flat, 4)
    made = net.model("network", (1, 8, 8), 4)
    for node in made.graph.node:  # constants, as the simplifier leaves them
        if node.op_type == "Cast":
            [sides] = [one for one in made.graph.initializer if one.name == node.input[0]]
            values = onnx.numpy_helper.to_array(sides).astype(np.int64)
            sides.CopyFrom(onnx.numpy_helper.from_array(values, node.output[0]))
            made.graph.node.remove(node)
    return made


def workplace(root: Path, middle: Middle, names: dict[str, str] | None = None) -> Workplace:
    write_data(root / "data")
    for stage in ("simplify", "export"):
        (root / stage).mkdir()
    onnx_files.write_model(network(middle), root / "simplify" / "model.onnx")
    if names:
        table = {tensor: {"layer": layer, "evidence": "value"} for tensor, layer in names.items()}
        (root / "export" / "layers.json").write_text(json.dumps(table))
    return Workplace(root)


@pytest.mark.parametrize("name", REFUSED)
def test_the_fault_is_said_of_the_layer_with_what_is_allowed(name: str) -> None:
    middle, message, remedy = REFUSED[name]
    error = obstacles.explained(StageError("as it was"), network(middle), Layout((1, 8, 8)), {})
    assert error.message.startswith("Akida cannot run ") and message in error.message
    assert error.remedy == remedy


@pytest.mark.parametrize("name", TAKEN)
def test_no_fault_is_found_in_what_is_taken(name: str) -> None:
    error = StageError("as it was", "as it was")
    assert obstacles.explained(error, network(TAKEN[name]), Layout((1, 8, 8)), {}) is error


def test_layers_bear_the_names_that_export_traced(tmp_path: Path) -> None:
    names = {"act": "features.1", "pool": "features.2"}
    with pytest.raises(StageError) as caught:
        workplace(tmp_path, pool_behind_leaky, names).run(quantize.STAGE, "quantize")
    assert caught.value.message.startswith(
        "Akida cannot run layer 'features.2' (MaxPool): it stands behind layer 'features.1' (LeakyRelu), and Akida"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_the_tools_refuse_it_as_well(tmp_path: Path, name: str) -> None:
    """Before anything is rewritten."""
    kinds = [inputs.Kind("stored", "uint8"), inputs.Kind("normalised", "uint8"), inputs.Kind("normalised", "int8")]
    tried = inputs.attempt(kinds, network(REFUSED[name][0]), CONTRACT, inputs.Wanted(), 1, tmp_path)
    assert tried and all(one.refusal is not None for one in tried)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_rewritten_or_said(tmp_path: Path, name: str) -> None:
    middle, message, _ = REFUSED[name]
    work = workplace(tmp_path, middle)
    rewritten = lower.lower(network(middle), (1, 8, 8), {}, 1)
    if not list(obstacles.faults(sized(rewritten.model, rewritten.layout.takes), {})):
        assert work.run(quantize.STAGE, "quantize")["rewritten"] == len(rewritten.done) > 0
        return
    with pytest.raises(StageError) as caught:
        work.run(quantize.STAGE, "quantize")
    assert message in caught.value.message


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKEN)
def test_the_tools_take_it_as_well(tmp_path: Path, name: str) -> None:
    workplace(tmp_path, TAKEN[name]).run(quantize.STAGE, "quantize")


def of_signals(between: list[Any]) -> Any:
    """Two convolutions over signals (N, 3, 16), nodes from `one` to `two` between them, and a dense layer."""
    import onnx

    node, random = onnx.helper.make_node, np.random.default_rng(0)
    weights = {
        "w1": random.normal(size=(4, 3, 1)),
        "w2": random.normal(size=(4, 4, 3)),
        "w3": random.normal(size=(64, 4)),
    }
    nodes = [
        node("Conv", ["x", "w1"], ["c1"], "first"),
        node("Relu", ["c1"], ["one"], "relu"),
        *between,
        node("Conv", ["two", "w2"], ["c2"], "second", pads=[1, 1]),
        node("Flatten", ["c2"], ["flat"], "flat"),
        node("Gemm", ["flat", "w3"], ["scores"], "head"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "signals",
        [onnx.helper.make_tensor_value_info("x", 1, ["batch", 3, 16])],
        [onnx.helper.make_tensor_value_info("scores", 1, ["batch", 4])],
        [onnx.numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def signal_fault(kind: str, **attributes: Any) -> StageError:
    import onnx

    made = of_signals([onnx.helper.make_node(kind, ["one"], ["two"], "between", **attributes)])
    return obstacles.explained(StageError("as it was"), made, Layout((3, 16)), {})


def test_of_signals_only_what_keeps_them_from_being_maps_is_a_fault() -> None:
    error = signal_fault("Elu")
    assert error.message == "Akida cannot run Elu 'between': it is an operation that Akida does not have"
    error = signal_fault("Transpose", perm=[0, 1, 2])
    assert error.message == (
        "Akida cannot run Transpose 'between': it means something else on signals (N, C, T) than on maps of height 1, "
        "as which Akida takes them"
    )
