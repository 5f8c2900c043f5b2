# environment: cairo
from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from pydantic import ValidationError

from stages import onnx_files
from stages.base import StageError
from stages.cairo import calibrate, emit, fast_vm, program, quantize, ranges, verify
from tests.stages.onnx_models import Workplace, cnn, contents, initializer, model, write_data, write_export

ROOT = Path(__file__).resolve().parents[3]
VM = {"vm": ROOT / "stages" / "cairo" / "vm"}


def workplace(root: Path, simplified: Any | None = None) -> Workplace:
    simplified = cnn() if simplified is None else simplified
    write_data(root / "data")
    write_export(root / "export", simplified, root / "data")
    (root / "simplify").mkdir()
    onnx_files.write_model(simplified, root / "simplify" / "model.onnx")
    return Workplace(root)


def emitted(work: Workplace, **params: dict[str, Any]) -> None:
    for name, stage in (("quantize", quantize.STAGE), ("calibrate", calibrate.STAGE), ("emit", emit.STAGE)):
        work.run(stage, name, **params.get(name, {}))


def verified(work: Workplace, name: str = "verify", **params: Any) -> dict[str, Any]:
    return work.run(verify.STAGE, name, files=VM, vm="stages/cairo/vm", **params)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """All four stages of the small network, and what verify says."""
    work = workplace(tmp_path_factory.mktemp("whole"))
    emitted(work)
    return work.root, verified(work, max_abs_error=1e-3, vm_samples=3)


@pytest.fixture
def built(whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The Cairo VM that `whole` has compiled already."""
    program = whole[0] / "verify.scratch" / "vm" / fast_vm.PROGRAM
    monkeypatch.setattr(fast_vm, "build", lambda *_: program)


def again(whole: tuple[Path, dict[str, Any]], to: Path) -> Workplace:
    shutil.copytree(whole[0], to / "copy", ignore=shutil.ignore_patterns("verify*", "*.scratch"))
    return Workplace(to / "copy")


def test_the_emitted_workspace_computes_what_the_float_model_does(whole: tuple[Path, dict[str, Any]]) -> None:
    root, metrics = whole
    assert metrics["agreement"] == 1
    assert 0 < metrics["max_abs_error"] < 1e-3
    assert metrics["vm_samples"] == 3
    assert sum(metrics["steps_by_layer"].values()) == metrics["steps"]
    assert {"conv_1", "max_pool_2", "gemm_3"} < set(metrics["steps_by_layer"])
    assert list(metrics["cells_by_layer"]) == list(metrics["steps_by_layer"])
    assert min(metrics["cells_by_layer"].values()) > 0
    standing = metrics["memory_cells"] - sum(metrics["cells_by_layer"].values())
    # after the program two words, behind one of them five costs; pointers of two builtins, gas, system, an array's
    # two ends, the way back; and the input
    assert standing == metrics["bytecode_felts"] + 2 + 5 + 2 + 4 + 2 + 64
    assert metrics["bytecode_felts"] > 1000 < metrics["memory_cells"]
    report = json.loads((root / "verify" / "parity.json").read_text())
    layers = {layer["tensor"] for hop in report["hops"] if hop["to"] == "quantized" for layer in hop["layers"]}
    assert {"features", "pooled", "scores"} <= layers
    rows = (root / "verify" / "cost_by_layer.csv").read_text().splitlines()
    assert rows[0] == "layer,steps,cells"
    names = metrics["steps_by_layer"]
    assert rows[1:] == [f"{name},{metrics['steps_by_layer'][name]},{metrics['cells_by_layer'][name]}" for name in names]


def test_the_workspace_has_the_layout_of_gizas(whole: tuple[Path, dict[str, Any]]) -> None:
    names = set(contents(whole[0] / "emit"))
    assert {f"src/{name}.cairo" for name in ("lib", "functions", "inference", "input")} < names
    for layer in ("layer1", "layer2"):
        assert {f"crates/{layer}/{name}" for name in ("Scarb.toml", "src/weights.cairo", "src/bias.cairo")} < names
    assert {"Scarb.toml", "README.md", "prepare_input.py", "input.json", "fixed_point.json"} < names
    cairo = "\n".join(path.read_text() for path in sorted((whole[0] / "emit").rglob("*.cairo")))
    # what Cairo 2.1 does not know, or 2.12 has no more
    assert not re.search(r"\bpub\b|\bwhile\b|println!|Option::None\b(?!\(_\))", cairo)
    assert "git" not in "".join(path.read_text() for path in (whole[0] / "emit").rglob("Scarb.toml"))


def test_the_same_input_gives_the_same_bytes(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    work = workplace(tmp_path)
    emitted(work)
    for stage in ("quantize", "calibrate", "emit"):
        assert contents(work.root / stage) == contents(whole[0] / stage)


@pytest.mark.usefixtures("built")
def test_a_changed_weight_is_caught(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    work = again(whole, tmp_path)
    path = work.root / "emit/crates/layer2/src/bias.cairo"
    text = path.read_text()
    path.write_text(text.replace("08000;", "28000;"))  # the first output's bias, two units more
    assert path.read_text() != text
    with pytest.raises(StageError, match=r"the Cairo program and the mirror differ on test sample 0: output \d of 4"):
        verified(work)


@pytest.mark.usefixtures("built")
def test_sources_that_do_not_compile_are_refused_with_the_place(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    work = again(whole, tmp_path)
    path = work.root / "emit/src/inference.cairo"
    path.write_text(path.read_text().replace("write_output(", "write_outputs("))
    with pytest.raises(StageError, match=r"does not compile with Cairo 2\.1\.0: inference\.cairo:\d+:\d+: "):
        verified(work)


@pytest.mark.usefixtures("built")
def test_too_many_steps_are_refused(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"takes \d+ VM steps, above max_steps 100"):
        verified(again(whole, tmp_path), max_steps=100)


@pytest.mark.usefixtures("built")
def test_samples_beyond_the_range_are_refused(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    work = again(whole, tmp_path)
    split = dict(np.load(work.root / "data/test.npz"))
    split["x"] = split["x"].astype(np.float32) * 100
    np.savez(work.root / "data/test.npz", **split)
    with pytest.raises(StageError, match=r"samples leave the input's range"):
        verified(work)


@pytest.mark.parametrize("name", ["FP16", "FP3x16", "FP41x8", "FP16x40", "FP33x32", "fp16x16"])
def test_a_format_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"must be FP|needs 4 to 40 bits"):
        quantize.QuantizeParams(format=name)


def dense(weight: float, layers: int = 1) -> Any:
    node = onnx.helper.make_node
    tensor, nodes = "flat", [node("Flatten", ["image"], ["flat"], "flatten")]
    weights = [initializer("first", np.full((64, 4), weight)), initializer("next", np.full((4, 4), weight))]
    for index in range(layers):
        after = "scores" if index == layers - 1 else f"hidden{index}"
        nodes.append(node("MatMul", [tensor, "first" if index == 0 else "next"], [after], f"dense{index}"))
        tensor = after
    return model(nodes, weights if layers > 1 else weights[:1])


def test_a_weight_beyond_the_format_is_refused(tmp_path: Path) -> None:
    work = workplace(tmp_path, dense(300.0))
    with pytest.raises(StageError, match="weight of node dense0 reaches 300, and FP8x23 holds numbers below 256") as no:
        work.run(quantize.STAGE, "quantize", format="FP8x23")
    assert "9 bits before the point" in no.value.remedy


def test_an_overflow_is_caught_and_the_format_that_is_named_holds(tmp_path: Path) -> None:
    work = workplace(tmp_path, dense(9.0, layers=3))
    work.run(quantize.STAGE, "quantize")
    with pytest.raises(
        StageError, match=r"node dense2 \(MatMul\) can overflow FP16x16: its results can reach 746496, .* below 65536"
    ) as no:
        work.run(calibrate.STAGE, "refused")
    named = re.search(r"FP\d+x16", no.value.remedy)
    assert named
    assert named[0] == "FP20x16"
    shutil.rmtree(tmp_path / "quantize")
    shutil.rmtree(tmp_path / "quantize.scratch")
    work.run(quantize.STAGE, "quantize", format=named[0])
    assert work.run(calibrate.STAGE, "calibrate")["widest_sum_bits"] > 36


def test_a_sum_longer_than_an_accumulator_is_caught(tmp_path: Path) -> None:
    work = workplace(tmp_path, dense(2.0**26))
    work.run(quantize.STAGE, "quantize", format="FP32x32")
    found = program.read(tmp_path / "quantize")
    (tmp_path / "calibrate").mkdir()
    ranges.Ranges(-(2**61), 2**61, {}, {}).write(tmp_path / "calibrate")
    assert found.nodes[-1].name == "dense0"
    with pytest.raises(StageError, match=r"node dense0 \(MatMul\) can overflow FP32x32: its sums can reach \d+ bits"):
        work.run(emit.STAGE, "emit")


def test_nodes_without_counterpart_are_named(tmp_path: Path) -> None:
    node = onnx.helper.make_node
    nodes = [
        node("Erf", ["image"], ["e"], "strange"),
        node("Flatten", ["e"], ["flat"], axis=1),
        node("MatMul", ["flat", "w"], ["scores"]),
    ]
    work = workplace(tmp_path, model(nodes, [initializer("w", np.ones((64, 4)))]))
    with pytest.raises(StageError, match=r"strange \(Erf\): no such operation") as no:
        work.run(quantize.STAGE, "quantize")
    assert "AveragePool, BatchNormalization" in no.value.remedy


def test_a_range_that_the_samples_leave_is_refused(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(quantize.STAGE, "quantize")
    with pytest.raises(StageError, match=r"calibration samples span .* and the input's range is 0 to 0\.1"):
        work.run(calibrate.STAGE, "calibrate", input_range=(0.0, 0.1))
    with pytest.raises(StageError, match=r"there are 64 calibration samples"):
        work.run(calibrate.STAGE, "too many", samples=65)


def test_a_program_beyond_the_bytecode_limit_is_refused(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    node = onnx.helper.make_node
    big = np.random.default_rng(0).normal(size=(64, 400))
    nodes = [
        node("Flatten", ["image"], ["flat"], axis=1),
        node("MatMul", ["flat", "big"], ["wide"], "big"),
        node("MatMul", ["wide", "small"], ["scores"], "small"),
    ]
    work = workplace(
        tmp_path, model(nodes, [initializer("big", big), initializer("small", big[:, :4].repeat(7, 0)[:400])])
    )
    work.run(quantize.STAGE, "quantize")
    work.run(calibrate.STAGE, "calibrate")
    with pytest.raises(StageError, match="felts of bytecode even with its weights in the call data"):
        work.run(emit.STAGE, "refused", bytecode_limit=10_001)
    assert work.run(emit.STAGE, "passed", bytecode_limit=18_000)["weights_in_call_data"] > 0
    assert (work.root / "passed" / "weights.json").exists()
    assert work.run(emit.STAGE, "literal")["weights_in_call_data"] == 0
