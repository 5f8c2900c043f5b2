# environment: wasm
from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from recast.stages.compilers.onnx_c.build import build_native, build_wasm, write
from recast.stages.compilers.onnx_c.compile import Options, Unsupported, generate
from tests.lib.onnx_c.modules import load
from tests.lib.onnx_c.random_graphs import RandomGraph
from tests.lib.onnx_models import cnn, initializer, model

node = onnx.helper.make_node
STRICT = ("-std=c99", "-O2", "-Wall", "-Wextra", "-pedantic", "-Werror", "-c", "model.c", "model_weights.c")


def test_the_module_has_no_imports_and_the_stated_exports(tmp_path: Path) -> None:
    import wasmtime

    content = build_wasm(generate(cnn()), True, tmp_path)
    module = wasmtime.Module(wasmtime.Engine(), content)
    assert [each.name for each in module.imports] == []
    assert sorted(each.name for each in module.exports) == ["input", "memory", "output", "run"]


@pytest.mark.parametrize("simd", [True, False])
def test_the_same_model_gives_the_same_bytes(tmp_path: Path, simd: bool) -> None:
    first, second = generate(cnn()), generate(cnn())
    assert (first.files, first.weights, first.report) == (second.files, second.weights, second.report)
    built = []
    for name, source in (("a", first), ("elsewhere", second)):
        (tmp_path / name).mkdir()
        built.append(build_wasm(source, simd, tmp_path / name))
    assert built[0] == built[1]


def test_an_open_batch_becomes_the_one_of_the_options(tmp_path: Path) -> None:
    source = generate(cnn("batch"), Options(batch=3))
    x = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)
    (found,) = load([source], True, tmp_path).run(source, [x])
    session = onnxruntime.InferenceSession(cnn("batch").SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found, session.run(None, {"image": x})[0], atol=1e-5)


def test_activation_and_residual_are_merged_and_batch_norm_is_folded() -> None:
    weights = [
        initializer("w", np.ones((1, 1, 3, 3))),
        *(initializer(name, [1.5]) for name in ("scale", "shift", "mean", "variance")),
        initializer("head", np.ones((64, 4))),
    ]
    nodes = [
        node("Conv", ["image", "w"], ["a"], "conv", pads=[1] * 4),
        node("BatchNormalization", ["a", "scale", "shift", "mean", "variance"], ["b"], "norm"),
        node("Add", ["b", "image"], ["c"], "add"),
        node("Relu", ["c"], ["d"], "relu"),
        node("Flatten", ["d"], ["e"], "flat"),
        node("Gemm", ["e", "head"], ["scores"], "head"),
    ]
    report = generate(model(nodes, weights)).report
    conv = next(each for each in report["nodes"] if each["op"] == "Conv")
    assert conv["folded"] == ["norm", "add", "relu"]
    assert next(each for each in report["nodes"] if each["op"] == "Flatten")["kernel"] == "none"


def test_the_native_library_gives_what_the_module_gives(tmp_path: Path) -> None:
    source = generate(cnn(1))
    x = np.random.default_rng(1).normal(size=(1, 1, 8, 8)).astype(np.float32)
    library = ctypes.CDLL(str(build_native(source, tmp_path)))
    y = np.zeros((1, 4), np.float32)
    library.model_run(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
    (found,) = load([source], False, tmp_path / "wasm").run(source, [x])
    np.testing.assert_allclose(y, found, rtol=1e-6)


@pytest.mark.parametrize("compiler", [("cc",), (sys.executable, "-m", "ziglang", "cc")])
def test_strict_compilers_take_the_delivered_c(tmp_path: Path, compiler: tuple[str, ...]) -> None:
    for name, made in {"cnn": cnn(1), **{f"random{seed}": RandomGraph(seed).model() for seed in range(4)}}.items():
        (tmp_path / name).mkdir()
        assert write(generate(made), tmp_path / name) == ["model.c", "model.h", "model_weights.c"]
        done = subprocess.run([*compiler, *STRICT], cwd=tmp_path / name, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_delivered_weights_are_those_of_the_module(tmp_path: Path) -> None:
    values = np.array([1 / 3, 1e-42, -0.0, 3.4e38, np.inf, 1e-7, 16777217, 0.1], np.float32)
    made = model([node("Add", ["image", "w"], ["scores"])], [initializer("w", values[:4])], (1, 4))
    for name, part in (("a.so", values[:4]), ("b.so", values[4:])):
        made.graph.initializer[0].CopyFrom(initializer("w", part))
        source = generate(made)
        write(source, tmp_path)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", name, "model_weights.c"], cwd=tmp_path, check=True)
        array = (ctypes.c_float * 4).in_dll(ctypes.CDLL(str(tmp_path / name)), "model_weights_float")
        assert np.array(array, np.float32).tobytes() == source.weights["float"][:16]


def test_everything_unsupported_is_named_at_once() -> None:
    nodes = [
        node("Tan", ["image"], ["a"], "first"),
        node("Cast", ["a"], ["b"], "second", to=onnx.TensorProto.DOUBLE),
        node("Det", ["a"], ["c"], "third"),
    ]
    with pytest.raises(Unsupported) as caught:
        generate(model([*nodes[:1], nodes[2]], [], ("batch", 1, 8, 8), outputs=("c",)))
    assert "node 'first' (Tan, opset 18)" in caught.value.message
    assert "node 'third' (Det, opset 18)" in caught.value.message
    assert "the operators it knows are Abs, Add" in caught.value.message
    with pytest.raises(Unsupported, match=r"node 'second' \(Cast, opset 18\): its output's type float64"):
        generate(model(nodes[:2], [], outputs=("b",)))


def _resize(**attributes: Any) -> Any:
    scales = initializer("scales", [1, 1, 2, 2])
    return model([node("Resize", ["image", "", "scales"], ["scores"], "big", **attributes)], [scales])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (model([node("Relu", ["image"], ["scores"])], [], ("batch", 1, "height", 8)), "axis 2 has no fixed length"),
        (_resize(antialias=1), r"'big' \(Resize, opset 18\): antialias"),
        (model([node("Bad", ["image"], ["scores"], "x", domain="our.own")], []), "the domain our.own"),
        (model([node("NonZero", ["image"], ["scores"], "x")], []), "is not known before it runs"),
    ],
)
def test_an_unsupported_model_is_refused(made: Any, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        generate(made)


def test_a_wide_row_does_not_fit_the_stack_and_works(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    weight = random.normal(size=(64, 40_000)).astype(np.float32) / 8
    nodes = [node("Flatten", ["image"], ["flat"]), node("Gemm", ["flat", "w"], ["scores"])]
    source = generate(model(nodes, [initializer("w", weight)]))
    x = random.normal(size=(1, 1, 8, 8)).astype(np.float32)
    (found,) = load([source], True, tmp_path).run(source, [x])
    np.testing.assert_allclose(found, x.reshape(1, 64) @ weight, atol=1e-5)


def test_a_model_name_cannot_leave_its_comment() -> None:
    made = model([node("Relu", ["image"], ["scores"], "*/ #error \\\n/*")], [])
    assert b"#error" not in generate(made).files["model.c"]


def test_inputs_constants_and_twins_as_outputs(tmp_path: Path) -> None:
    nodes = [node("Relu", ["image"], ["a"]), node("Flatten", ["a"], ["b"]), node("Identity", ["c"], ["d"])]
    made = model(nodes, [initializer("c", [1.0, 2.0])], (1, 2, 2, 2), outputs=("a",))
    for name in ("b", "d", "image"):
        made.graph.output.append(onnx.ValueInfoProto(name=name))
    source = generate(made)
    x = np.random.default_rng(2).normal(size=(1, 2, 2, 2)).astype(np.float32)
    a, b, d, image = load([source], True, tmp_path).run(source, [x])
    np.testing.assert_array_equal(a, np.maximum(x, 0))
    np.testing.assert_array_equal(b, a.reshape(1, 8))
    np.testing.assert_array_equal(d, [1, 2])
    np.testing.assert_array_equal(image, x)
