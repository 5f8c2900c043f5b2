# environment: ezkl
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.ezkl import calibrate, quantize
from recast.stages.targets.ezkl.circuit import settings
from recast.stages.targets.ezkl.circuit.network import with_dense_kernels, with_strides, without_idle_bounds
from recast.stages.targets.ezkl.circuit.products import with_products
from tests.lib.ezkl import circuits
from tests.lib.onnx_models import initializer, model


def test_strides_that_onnx_has_by_default_are_written_down(tmp_path: Path) -> None:
    before = circuits.convolutional()
    assert not any(one.name == "strides" for one in before.graph.node[0].attribute)
    # EZKL says that a node "is missing required params: stride"
    work = circuits.workplace(tmp_path / "work", before)
    work.run(quantize.STAGE, "quantize")
    conv = onnx.load(work.root / "quantize" / settings.NETWORK).graph.node[0]
    assert next(list(one.ints) for one in conv.attribute if one.name == "strides") == [1, 1]


def test_strides_that_are_given_stay() -> None:
    model = circuits.convolutional()
    pool = model.graph.node[2]
    with_strides(model)
    assert [list(one.ints) for one in pool.attribute if one.name == "strides"] == [[4, 4]]
    onnx_files.check(model, "the model")


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize(
    ("apart", "groups", "more"),
    [
        ([2, 2], 1, {"pads": [2, 2, 2, 2]}),
        ([1, 3], 1, {"kernel_shape": [2, 2]}),
        ([3, 1], 2, {"strides": [2, 1]}),
        ([2, 2], 1, {"auto_pad": "VALID"}),
    ],
)
def test_a_dilated_kernel_gets_its_zeros(kind: str, apart: list[int], groups: int, more: Any) -> None:
    """EZKL says "non unit dilations not supported"."""
    node = onnx.helper.make_node
    size = 3 if "kernel_shape" not in more else 2
    kernels = np.random.default_rng(0).normal(size=(4, 4 // groups, size, size))
    nodes = [
        node("Conv", ["image", "first"], ["four"], strides=[1, 1]),
        node(kind, ["four", "kernels"], ["seen"], dilations=apart, group=groups, **more),
        node("GlobalAveragePool", ["seen"], ["means"]),
        node("Flatten", ["means"], ["scores"]),
    ]
    weights = [initializer("first", np.ones((4, 1, 1, 1))), initializer("kernels", kernels)]
    given = model(nodes, weights, (1, 1, 8, 8), opset=circuits.OPSET)
    x = np.random.default_rng(0).normal(size=(1, 1, 8, 8)).astype(np.float32)
    expected = onnx_files.Session(given, threads=1).run(x)
    made = with_dense_kernels(given)
    onnx_files.check(made, "it")
    assert not any(entry.name == "dilations" for entry in made.graph.node[1].attribute)
    assert {weight.name for weight in made.graph.initializer} == {"first", made.graph.node[1].input[1]}
    assert np.allclose(onnx_files.Session(made, threads=1).run(x), expected, atol=1e-6)
    products, count = with_products(with_strides(made))
    assert count == 1 + (kind == "Conv" and groups == 1)
    assert np.allclose(onnx_files.Session(products, threads=1).run(x), expected, atol=1e-6)


def test_a_dilated_convolution_enters_a_circuit(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["image", "kernels"], ["seen"], dilations=[2, 2], pads=[2, 2, 2, 2]),
        onnx.helper.make_node("AveragePool", ["seen"], ["means"], kernel_shape=[4, 4], strides=[4, 4]),
        onnx.helper.make_node("Flatten", ["means"], ["scores"]),
    ]
    weights = [initializer("kernels", np.random.default_rng(0).normal(0.2, 0.1, (1, 1, 3, 3)))]
    work = circuits.workplace(tmp_path / "work", model(nodes, weights, opset=circuits.OPSET))
    work.run(quantize.STAGE, "quantize", decomp_base=512, decomp_legs=3)
    for form in ("terms", "products"):
        assert work.run(calibrate.STAGE, form, convolutions=form)["max_abs_error"] < 0.05


def test_the_layer_that_is_refused_is_named_by_its_weights(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["image", "a.weight"], ["seen"], "first", pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Relu", ["seen"], ["positive"], "relu"),
        # EZKL has none with groups
        onnx.helper.make_node("ConvTranspose", ["positive", "b.up.weight"], ["large"], group=2, strides=[2, 2]),
        onnx.helper.make_node("GlobalAveragePool", ["large"], ["means"], "mean"),
        onnx.helper.make_node("Flatten", ["means"], ["scores"], "flatten"),
    ]
    weights = [
        initializer("a.weight", np.ones((4, 1, 3, 3)) / 9),
        initializer("b.up.weight", np.ones((4, 2, 2, 2))),
    ]
    work = circuits.workplace(tmp_path / "work", model(nodes, weights, opset=circuits.OPSET))
    with pytest.raises(StageError, match=r"EZKL makes no circuit of layer 'b\.up' \(ConvTranspose\): \w") as caught:
        work.run(quantize.STAGE, "quantize")
    assert "[" not in caught.value.message


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("bounds", [(0.0, LARGEST), (-LARGEST, 0.7), (-LARGEST, LARGEST), (-1.0, 0.7)])
@pytest.mark.parametrize("opset", [7, 10, 11, 13, 18, 21])
def test_bounds_that_no_float_passes_are_left_out(tmp_path: Path, opset: int, bounds: tuple[float, float]) -> None:
    """EZKL says "significant bit truncation when instantiating, try lowering the scale"."""
    names = ("min", "max")
    constants = [initializer("weight", circuits.quadrants().T / 4)]
    if opset < 11:
        clip = onnx.helper.make_node("Clip", ["flat"], ["kept"], **dict(zip(names, bounds, strict=True)))
    else:
        clip = onnx.helper.make_node("Clip", ["flat", *names], ["kept"])
        constants += [initializer(name, bound) for name, bound in zip(names, bounds, strict=True)]
    flatten = onnx.helper.make_node("Flatten", ["image"], ["flat"])
    head = onnx.helper.make_node("MatMul", ["kept", "weight"], ["scores"])
    given = model([flatten, clip, head], constants, opset=opset)
    x = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)
    expected = onnx_files.Session(given, threads=1).run(x)
    made = without_idle_bounds(given)
    onnx_files.check(made, "it")
    assert np.array_equal(onnx_files.Session(made, threads=1).run(x), expected)
    if opset in (10, 13):
        circuits.workplace(tmp_path / "work", given).run(quantize.STAGE, "quantize")
