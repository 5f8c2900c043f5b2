# environment: wasm
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from recast.stages.base import StageError
from recast.stages.targets.wasm import emit, verify
from recast.stages.targets.wasm.runtime import predictor
from tests.lib.onnx_models import Workplace, cnn, contents, initializer
from tests.lib.wasm.browser import program
from tests.lib.wasm.emitted import emitted, expected, stored, text_workplace


@pytest.fixture(scope="module")
def float32(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return emitted(tmp_path_factory.mktemp("float32"), engine="native")


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return emitted(tmp_path_factory.mktemp("int8"), scheme="int8", engine="native")


def copied(work: Workplace, root: Path) -> Workplace:
    shutil.copytree(work.root, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("verify*", "*.scratch"))
    return Workplace(root)


def refused(work: Workplace, **params: Any) -> str:
    with pytest.raises(StageError) as caught:
        work.run(verify.STAGE, "verify", **params)
    assert caught.value.remedy
    return f"{caught.value.message} | {caught.value.remedy}"


def conversion(work: Workplace, name: str, folder: str = "verify") -> dict[str, Any]:
    report = json.loads((work.root / folder / "parity.json").read_text())
    return next(each for each in report["conversions"] if each["to"] == name)


def wrong_weights() -> Any:
    """The same graph with another bias of its last layer."""
    model = cnn()
    bias = next(weight for weight in model.graph.initializer if weight.name == "head.bias")
    bias.CopyFrom(initializer("head.bias", [0.0, 0.0, 900.0, 0.0]))
    return model


def test_the_float_module_agrees_and_shows_its_layers(float32: Workplace) -> None:
    metrics = float32.run(verify.STAGE, "verify", min_accuracy=1.0, min_agreement=1.0)
    assert metrics["accuracy_emitted"] == metrics["agreement"] == 1 and metrics["samples"] == 64
    assert metrics["max_abs_error"] < 1e-5 and metrics["max_variant_error"] < 1e-5
    assert metrics["runtimes"] == ["wasmtime"]
    assert metrics["size_bytes"] == (float32.root / "emit/model.wasm").stat().st_size
    found = conversion(float32, "emitted")
    assert found["from"] == "simplified" and found["kind"] == "float" and found["blamed"] is None
    layers = {layer["layer"]: layer for layer in found["layers"]}
    assert list(layers) == ["features", "positive", "pooled", "flat", "scores"]
    assert all(layer["alone"]["sqnr_db"] > 100 for layer in layers.values())


def test_the_int8_module_is_compared_with_the_quantized_model(int8: Workplace) -> None:
    metrics = int8.run(verify.STAGE, "verify", min_agreement=0.95)
    assert metrics["agreement"] >= 0.95 and metrics["max_variant_error"] < 1e-3
    found = conversion(int8, "emitted")
    assert found["from"] == "quantized" and found["kind"] == "same" and found["blamed"] is None
    assert found["output"]["sqnr_db"] > 30 and len(found["layers"]) >= 4
    assert json.loads((int8.root / "emit/report.json").read_text())["scheme"] == "int8"


def test_the_same_input_gives_the_same_bytes(float32: Workplace) -> None:
    for name in ("first", "second"):
        float32.run(verify.STAGE, name)
    assert contents(float32.root / "first") == contents(float32.root / "second")


def test_a_module_of_other_weights_misses_the_limits(float32: Workplace, tmp_path: Path) -> None:
    work = copied(float32, tmp_path / "work")
    other = emitted(tmp_path / "other", wrong_weights(), engine="native")
    for name in ("model.wasm", "model.nosimd.wasm"):
        shutil.copyfile(other.root / "emit" / name, work.root / "emit" / name)
    message = refused(work)
    assert "model.wasm misses 1 limit: agreement 0.3" in message
    # the module that shows its layers is another one, and right
    assert "from simplified to emitted the output keeps" in message and "its layers do not account for" in message
    assert "The layers of the emitted model do not account for its output: " in message
    report = json.loads((work.root / "verify/parity.json").read_text())
    assert report["conversions"][-1]["blamed"] is None and report["conversions"][-1]["remainder"]["sqnr_db"] < 20
    assert len(report["unexplained"]) == 2


def test_a_variant_that_differs_is_refused(float32: Workplace, tmp_path: Path) -> None:
    work = copied(float32, tmp_path / "work")
    other = emitted(tmp_path / "other", wrong_weights(), engine="native")
    shutil.copyfile(other.root / "emit/model.nosimd.wasm", work.root / "emit/model.nosimd.wasm")
    message = refused(work)
    assert "model.nosimd.wasm differs from model.wasm under wasmtime by" in message and "max_variant_error" in message


def test_node_is_exercised_too(float32: Workplace, tmp_path: Path) -> None:
    program("node")
    work = copied(float32, tmp_path)
    metrics = work.run(verify.STAGE, "verify", runtimes=("wasmtime", "node"), layers=False)
    assert metrics["runtimes"] == ["wasmtime", "node"] and metrics["max_variant_error"] < 1e-5
    assert len(conversion(work, "emitted")["layers"]) == 1  # layers: false shows the output alone


def test_a_client_that_is_wrong_in_node_is_refused(float32: Workplace, tmp_path: Path) -> None:
    program("node")
    work = copied(float32, tmp_path)
    client = work.root / "emit/model.js"
    text = client.read_text()
    assert text.count(".set(part);") == 1
    client.write_text(text.replace(".set(part);", ".set(part.map((value) => value / 2));"))
    message = refused(work, runtimes=("wasmtime", "node"), layers=False)
    assert "model.js in Node differs from model.wasm under wasmtime by" in message


def test_a_missing_node_is_refused_with_the_remedy(
    float32: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = refused(copied(float32, tmp_path / "work"), runtimes=("wasmtime", "node"))
    assert message == "there is no 'node' on PATH | install Node 18 or later, or drop node from verify.runtimes"


def test_a_wrong_contract_in_the_emitted_folder_is_seen(float32: Workplace, tmp_path: Path) -> None:
    work = copied(float32, tmp_path)
    contract = json.loads((work.root / "emit/input.json").read_text())
    contract["inputs"][0] |= {"mean": [0.9], "std": [0.01]}
    (work.root / "emit/input.json").write_text(json.dumps(contract))
    assert "the error jumps" in refused(work, max_abs_error=0.5)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"", "cannot start the emitted module: "),
        (b"\0asm\1\0\0\0", "cannot start the emitted module: the module exports no memory"),
    ],
)
def test_a_damaged_module_is_refused(float32: Workplace, tmp_path: Path, damage: bytes, message: str) -> None:
    work = copied(float32, tmp_path)
    (work.root / "emit/model.wasm").write_bytes(damage)
    with pytest.raises(StageError, match=message):
        work.run(verify.STAGE, "verify")


@pytest.mark.parametrize(
    ("runtimes", "message"), [(("node",), "must hold wasmtime"), (("wasmtime", "wasmtime"), "names a runtime twice")]
)
def test_runtimes_that_cannot_be_are_refused(runtimes: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        verify.WasmVerifyParams(runtimes=runtimes)


def test_the_predictor_takes_stored_samples(float32: Workplace) -> None:
    samples = stored()
    np.testing.assert_allclose(predictor(float32.root / "emit", 1)(samples), expected(cnn(), samples), atol=1e-5)


def test_a_module_that_works_in_its_input_is_refused(float32: Workplace, tmp_path: Path) -> None:
    """A client that writes its input before each run gets the right scores all the same."""
    import wasmtime

    work = copied(float32, tmp_path / "work")
    described = json.loads((work.root / "emit/input.json").read_text())
    size = described["batch"] * int(np.prod(described["inputs"][0]["shape"]))
    text = f"""(module (memory (export "memory") 2)
      (func (export "input") (param i32) (result i32) (i32.const 1024))
      (func (export "output") (param i32) (result i32) (i32.const 65536))
      (func (export "run") (result i32)
        (i32.store (i32.const {1024 + 4 * (size - 1)}) (i32.const 7)) (i32.const 0)))"""
    for name in ("model.wasm", "model.nosimd.wasm"):
        (work.root / "emit" / name).write_bytes(wasmtime.wat2wasm(text))
    assert "writes to the input it is given" in refused(work, min_agreement=None, layers=False)


def test_tokens_agree_in_every_runtime(tmp_path: Path) -> None:
    program("node")
    work = text_workplace(tmp_path)
    work.run(emit.STAGE, "emit", engine="native")
    metrics = work.run(verify.STAGE, "verify", runtimes=("wasmtime", "node"), min_agreement=1.0)
    assert metrics["max_abs_error"] < 1e-5 and metrics["max_variant_error"] < 1e-5
