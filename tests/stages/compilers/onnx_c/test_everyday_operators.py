# environment: wasm
"""Operators of everyday layers that ONNX's node tests cover in few forms, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from recast.stages.compilers.onnx_c.compile import Options, generate
from tests.lib.onnx_c import sanitized
from tests.lib.onnx_c.modules import load
from tests.lib.onnx_models import initializer

node = onnx.helper.make_node
IMAGE = (2, 4, 6, 6)
WEIGHTS = [
    initializer("four", [0.5, 1.0, -1.0, 2.0]), initializer("two", [0.5, 2.0]),
    initializer("axes", [-1, 1], np.int64), initializer("axis", 2, np.int64),
    initializer("rows", np.random.default_rng(0).integers(-6, 6, (2, 4, 3, 6)), np.int64),
    initializer("places", [[0, -1], [1, 2], [0, 0]], np.int64),
    initializer("deep", [[[1], [-1]], [[0], [3]]], np.int64),
    initializer("smaller", [1, 1, 0.7, 1.3]), initializer("larger", [1, 1, 2, 3]),
    initializer("up", [2, 4, 9, 11], np.int64), initializer("m", np.ones((6, 5)) * 0.3),
]  # fmt: skip


def cubic(sizes: bool = False, scales: str = "larger", **attributes: Any) -> Any:
    inputs = ["image", "", "", "up"] if sizes else ["image", "", scales]
    return node("Resize", inputs, ["y"], mode="cubic", **attributes)


FORMS: dict[str, tuple[list[Any], int]] = {
    "instances": ([node("InstanceNormalization", ["image", "four", "four"], ["y"], epsilon=1e-3)], 17),
    "instances behind a convolution": (
        [node("Conv", ["image", "kernel"], ["c"], pads=[1] * 4),
         node("InstanceNormalization", ["c", "four", "four"], ["n"]), node("Relu", ["n"], ["y"])],
        17,
    ),
    "groups": ([node("GroupNormalization", ["image", "four", "four"], ["y"], num_groups=2)], 21),
    "neighbours": ([node("LRN", ["image"], ["y"], size=3, alpha=0.3, beta=0.6, bias=1.5)], 13),
    "depth to space": ([node("DepthToSpace", ["image"], ["y"], blocksize=2)], 13),
    "pixel shuffle": ([node("DepthToSpace", ["image"], ["y"], blocksize=2, mode="CRD")], 13),
    "space to depth": ([node("SpaceToDepth", ["image"], ["y"], blocksize=3)], 13),
    "pixel shuffle behind a convolution": (
        [node("Conv", ["image", "kernel"], ["c"]), node("DepthToSpace", ["c"], ["y"], blocksize=2, mode="CRD")], 13,
    ),
    "cubic": ([cubic()], 18),
    "cubic, smaller": ([cubic(scales="smaller")], 18),
    "cubic as PyTorch's": (
        [cubic(sizes=True, coordinate_transformation_mode="pytorch_half_pixel", cubic_coeff_a=-0.75)], 17,
    ),
    "cubic, without what lies outside": ([cubic(exclude_outside=1, cubic_coeff_a=-0.5)], 18),
    "cubic, corners aligned": ([cubic(sizes=True, coordinate_transformation_mode="align_corners")], 18),
    "log of sums": ([node("Exp", ["image"], ["e"]), node("ReduceLogSum", ["e", "axes"], ["y"])], 18),
    "log of exponentials": ([node("ReduceLogSumExp", ["image", "axes"], ["y"], keepdims=0)], 18),
    "log of all exponentials": ([node("ReduceLogSumExp", ["image"], ["y"])], 17),
    "sums so far": ([node("CumSum", ["image", "axis"], ["y"])], 14),
    "sums from the end": ([node("CumSum", ["image", "axis"], ["y"], reverse=1, exclusive=1)], 14),
    "elements": ([node("GatherElements", ["image", "rows"], ["y"], axis=2)], 13),
    "parts": ([node("GatherND", ["image", "places"], ["y"])], 13),
    "parts of each sample": ([node("GatherND", ["image", "deep"], ["y"], batch_dims=1)], 13),
    "a product": ([node("Einsum", ["image", "m"], ["y"], equation="nchw,wk->nckh")], 13),
    "a product of pairs": ([node("Einsum", ["image", "image"], ["y"], equation="nchw, nchv")], 13),
    "a trace": ([node("Einsum", ["image"], ["y"], equation="nchh->nc")], 13),
    "one of four": (
        [node("Greater", ["image", "zero"], ["g"]), node("Cast", ["g"], ["i"], to=7),
         node("OneHot", ["i", "axis", "two"], ["y"], axis=1)],
        13,
    ),
    "waves": ([node("Sin", ["image"], ["s"]), node("Cos", ["s"], ["y"])], 13),
}  # fmt: skip


def model(nodes: list[Any], opset: int) -> Any:
    kernel = initializer("kernel", np.random.default_rng(2).normal(0, 0.3, (4, 4, 3, 3)))
    weights = [*WEIGHTS, kernel, initializer("zero", 0.0)]
    used = {name for each in nodes for name in each.input}
    graph = onnx.helper.make_graph(
        nodes,
        "form",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, IMAGE)],
        [onnx.ValueInfoProto(name="y")],
        [weight for weight in weights if weight.name in used],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made)


def test_every_form_gives_onnxruntime_s_output(tmp_path: Path) -> None:
    made = {what: model(*form) for what, form in FORMS.items()}
    sources = [generate(each, Options(prefix=f"form{index}")) for index, each in enumerate(made.values())]
    module = load(sources, True, tmp_path)
    x = np.random.default_rng(0).normal(size=IMAGE).astype(np.float32)
    for (what, each), source in zip(made.items(), sources, strict=True):
        session = onnxruntime.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"])
        (expected,) = session.run(None, {"image": x})
        np.testing.assert_allclose(module.run(source, [x])[0], expected, rtol=1e-4, atol=1e-5, err_msg=what)


BY_INDEX: dict[str, list[Any]] = {
    "rows": [node("Gather", ["image", "i"], ["y"], axis=2)],
    "elements": [node("GatherElements", ["image", "i"], ["y"], axis=3)],
    "parts": [node("GatherND", ["image", "pairs"], ["y"])],
    "places": [node("OneHot", ["i", "axis", "two"], ["y"])],
}


@pytest.mark.slow
def test_none_of_them_leaves_its_arrays(tmp_path: Path) -> None:
    """Under the sanitizers, and with indices far outside, which onnxruntime refuses: they stay inside."""
    x = np.random.default_rng(0).normal(size=IMAGE).astype(np.float32)
    forms = {what: model(*form) for what, form in FORMS.items()}
    sources = [generate(each, Options(prefix=f"form{index}")) for index, each in enumerate(forms.values())]
    given = [[x]] * len(sources)
    indices = [
        node("Mul", ["image", "huge"], ["large"]),
        node("Cast", ["large"], ["i"], to=onnx.TensorProto.INT64),
        node("Reshape", ["i", "two by"], ["pairs"]),
    ]
    for number, nodes in enumerate(BY_INDEX.values()):
        made = model([*indices, *nodes], 13)
        made.graph.initializer.append(initializer("huge", 1e12))
        made.graph.initializer.append(initializer("two by", [-1, 2], np.int64))
        del made.graph.value_info[:]
        sources.append(generate(onnx.shape_inference.infer_shapes(made), Options(prefix=f"index{number}")))
        given.append([x])
    found = sanitized.run(sources, given, tmp_path)
    for (what, each), (one,) in zip(forms.items(), found, strict=False):
        session = onnxruntime.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(one, session.run(None, {"image": x})[0], rtol=1e-4, atol=1e-5, err_msg=what)
    assert all(np.isfinite(one.astype(np.float64)).all() for (one,) in found[len(forms) :])
