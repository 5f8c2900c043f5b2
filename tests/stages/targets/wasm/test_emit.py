# environment: wasm
from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import wasmtime

from recast.stages.base import StageError
from recast.stages.targets.wasm import emit, engine
from recast.stages.targets.wasm.clients.model import Model
from tests.lib.onnx_models import Workplace, cnn, contents, initializer
from tests.lib.wasm.emitted import WORDS, calibrated, emitted, expected, lstm, stored, text_workplace, with_node


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return emitted(tmp_path_factory.mktemp("wasm"), engine="native")


def refused(work: Workplace, **params: Any) -> str:
    with pytest.raises(StageError) as caught:
        work.run(emit.STAGE, "emit", **params)
    assert caught.value.remedy
    assert not contents(work.root / "emit")
    return f"{caught.value.message} | {caught.value.remedy}"


def test_the_folder_holds_two_modules_clients_and_what_they_need(work: Workplace) -> None:
    assert sorted(contents(work.root / "emit")) == [
        "README.md",
        "index.html",
        "input.json",
        "model.d.ts",
        "model.js",
        "model.nosimd.wasm",
        "model.py",
        "model.wasm",
        "package.json",
        "report.json",
    ]
    contract = json.loads((work.root / "emit/input.json").read_text())
    (taken,) = contract["inputs"]
    assert taken["layout"] == "nchw" and contract["batch"] == 1 and contract["classes"] == ["nw", "ne", "sw", "se"]
    assert taken["tensor"] == "image" and taken["shape"] == [1, 8, 8] and taken["dtype"] == "float32"
    assert contract["outputs"] == [{"name": "scores", "shape": [4], "dtype": "float32"}]
    report = json.loads((work.root / "emit/report.json").read_text())
    assert report["engine"] == "native" and report["scheme"] == "float32" and report["macs"] > 0
    assert {node["op"] for node in report["nodes"]} >= {"Conv", "Gemm"}
    assert all(0 <= error < 1e-5 for error in report["error"].values())


@pytest.mark.parametrize("file", ["model.wasm", "model.nosimd.wasm"])
def test_a_module_imports_nothing(work: Workplace, file: str) -> None:
    module = wasmtime.Module.from_file(wasmtime.Engine(), str(work.root / "emit" / file))
    assert not list(module.imports)
    assert {export.name for export in module.exports} >= {"memory", "input", "output", "run"}


def test_only_one_module_needs_simd(work: Workplace) -> None:
    config = wasmtime.Config()
    config.wasm_relaxed_simd = False
    config.wasm_simd = False
    without = wasmtime.Engine(config)
    wasmtime.Module.validate(without, (work.root / "emit/model.nosimd.wasm").read_bytes())
    with pytest.raises(wasmtime.WasmtimeError, match="SIMD"):
        wasmtime.Module.validate(without, (work.root / "emit/model.wasm").read_bytes())


def test_the_same_input_gives_the_same_bytes(work: Workplace) -> None:
    work.run(emit.STAGE, "again", engine="native")
    assert contents(work.root / "again") == contents(work.root / "emit")


def test_the_readme_s_code_runs(work: Workplace) -> None:
    code = (work.root / "emit/README.md").read_text().split("```python\n")[1].split("```")[0]
    lines = [line for line in code.splitlines() if "base64" not in line and "import" not in line]
    samples = stored()
    names: dict[str, Any] = {"Model": lambda: Model(work.root / "emit"), "stored": samples}
    exec("\n".join(lines), names)
    assert names["outputs"].shape == (6, 4)


def test_several_samples_are_computed_at_once(tmp_path: Path) -> None:
    work = emitted(tmp_path, batch=4, engine="native")
    samples = stored(6)  # no multiple of the batch
    model = Model(tmp_path / "emit")
    np.testing.assert_allclose(model.predict(model.normalise(samples)), expected(cnn(), samples), atol=1e-5)
    assert json.loads((work.root / "emit/input.json").read_text())["batch"] == 4


def test_another_batch_than_the_model_s_own_is_refused(tmp_path: Path) -> None:
    message = refused(calibrated(tmp_path, cnn(batch=1)), batch=2)
    assert "the model takes 1 samples at once, and emit.batch is 2 | set emit.batch to the model's own" in message


@pytest.mark.parametrize(("part", "file"), [("simd", "model.wasm"), ("plain", "model.nosimd.wasm")])
def test_a_wrong_module_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, file: str) -> None:
    """One of the two is of the same graph with a weight changed, as a compiler's fault would have it."""
    work = calibrated(tmp_path)
    right = engine.native

    def wrong(model: Any, batch: int, scratch: Path) -> engine.Built:
        damaged = type(model)()
        damaged.CopyFrom(model)
        bias = next(weight for weight in damaged.graph.initializer if weight.name == "head.bias")
        bias.CopyFrom(initializer("head.bias", [0.0, 0.0, 1.0, 0.0]))
        built = right(model, batch, scratch)
        return dataclasses.replace(built, **{part: getattr(right(damaged, batch, scratch), part)})

    monkeypatch.setattr(engine, "native", wrong)
    message = refused(work)
    assert f"{file} is wrong: its output scores differs from onnxruntime's by 0." in message
    assert "above emit.max_error 0.001" in message and "computes all of them right" in message


def test_a_fault_of_the_compiler_is_named_by_its_first_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recast.stages.compilers.onnx_c import compile as compiler

    work = calibrated(tmp_path)
    right = compiler.generate

    def wrong(model: Any, options: Any) -> Any:
        """Reads every max pool as an average."""
        damaged = type(model)()
        damaged.CopyFrom(model)
        for node in damaged.graph.node:
            if node.op_type == "MaxPool":
                node.op_type = "AveragePool"
        return right(damaged, options)

    monkeypatch.setattr(compiler, "generate", wrong)
    assert "the first tensor that differs is pooled" in refused(work)


def test_nan_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = calibrated(tmp_path)
    monkeypatch.setattr(emit, "predictor", lambda *_: lambda x: np.full((len(x), 4), np.nan, np.float32))
    assert "differs from onnxruntime's by nan" in refused(work)


def test_an_operator_that_no_engine_knows_is_named(tmp_path: Path) -> None:
    node = onnx.helper.make_node("DFT", ["spectrum"], ["wave"], "node_dft", axis=1)
    model = with_node(node, [])
    shape = onnx.helper.make_node("Reshape", ["flat", "pairs"], ["spectrum"], "node_pairs")
    back = onnx.helper.make_node("ReduceSum", ["wave", "last"], ["middle"], "node_sum", keepdims=0)
    del model.graph.node[1]
    for place, added in enumerate((shape, node, back), 1):
        model.graph.node.insert(place, added)
    model.graph.initializer.extend([initializer("pairs", [0, 64, 1], np.int64), initializer("last", [2], np.int64)])
    message = refused(calibrated(tmp_path, model), engine="native")
    assert "'node_dft' (DFT, opset 18)" in message


@pytest.mark.slow
def test_what_our_compiler_does_not_know_falls_back_and_says_so(tmp_path: Path) -> None:
    model = with_node(onnx.helper.make_node("Asinh", ["flat"], ["middle"], "node_asinh"), [])
    work = emitted(tmp_path, model)
    report = json.loads((work.root / "emit/report.json").read_text())
    assert report["engine"] == "emx-onnx-cgen 1.4.0" and "'node_asinh' (Asinh, opset 18)" in report["reason"]
    client, samples = Model(tmp_path / "emit"), stored()
    np.testing.assert_allclose(client.predict(client.normalise(samples)), expected(model, samples), atol=1e-4)


@pytest.mark.slow
def test_a_bidirectional_lstm_on_which_the_fallback_is_wrong_is_refused(tmp_path: Path) -> None:
    message = refused(calibrated(tmp_path, lstm()), engine="emx")
    assert "model.wasm is wrong: its output scores differs from onnxruntime's" in message


def test_a_bidirectional_lstm_is_compiled_by_our_own(tmp_path: Path) -> None:
    work = emitted(tmp_path, lstm(), engine="native")
    samples, model = stored(), Model(work.root / "emit")
    np.testing.assert_allclose(model.predict(model.normalise(samples)), expected(lstm(), samples), atol=1e-5)


def test_tokens_are_checked_within_what_the_samples_hold(tmp_path: Path) -> None:
    """Of random tokens of any size, onnxruntime would refuse all that are outside the vocabulary."""
    metrics = text_workplace(tmp_path).run(emit.STAGE, "emit", engine="native", check_random=500)
    assert metrics["max_error"] < 1e-5
    contract = json.loads((tmp_path / "emit/input.json").read_text())
    assert contract["inputs"][0]["bounds"] == [-WORDS, WORDS - 1] and contract["inputs"][0]["dtype"] == "int64"
    readme = (tmp_path / "emit/README.md").read_text()
    assert "takes int64 (N, 12) and gives float32 (N, 3)" in readme and f"an index from 0 to {WORDS - 1};" in readme


def test_a_model_that_gives_whole_numbers(tmp_path: Path) -> None:
    text_workplace(tmp_path, "int32", "best").run(emit.STAGE, "emit", engine="native")
    contract = json.loads((tmp_path / "emit/input.json").read_text())
    assert contract["outputs"] == [{"name": "best", "shape": [], "dtype": "int64"}]
    found = Model(tmp_path / "emit").predict(np.load(tmp_path / "data/test.npz")["x"])
    assert found.dtype == np.int64 and found.shape == (32,)
    assert "gives int64 (N,): the values" in (tmp_path / "emit/README.md").read_text()
