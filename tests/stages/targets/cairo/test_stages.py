# environment: cairo
from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from pydantic import ValidationError

from recast.stages.base import StageError
from recast.stages.targets.cairo import calibrate, emit, quantize
from recast.stages.targets.cairo.ir import program, ranges
from tests.lib.cairo.chain import emitted, workplace
from tests.lib.onnx_models import contents, initializer, model


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stages up to emit, of the small network."""
    work = workplace(tmp_path_factory.mktemp("whole"))
    emitted(work)
    return work.root


def test_the_workspace_has_the_layout_of_gizas(whole: Path) -> None:
    names = set(contents(whole / "emit"))
    assert {f"src/{name}.cairo" for name in ("lib", "functions", "inference", "input")} < names
    for layer in ("layer1", "layer2"):
        assert {f"crates/{layer}/{name}" for name in ("Scarb.toml", "src/weights.cairo", "src/bias.cairo")} < names
    assert {"Scarb.toml", "README.md", "prepare_input.py", "input.json", "fixed_point.json"} < names
    cairo = "\n".join(path.read_text() for path in sorted((whole / "emit").rglob("*.cairo")))
    # what Cairo 2.1 does not know, or 2.12 has no more
    assert not re.search(r"\bpub\b|\bwhile\b|println!|Option::None\b(?!\(_\))", cairo)
    assert "git" not in "".join(path.read_text() for path in (whole / "emit").rglob("Scarb.toml"))


def test_the_same_input_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    work = workplace(tmp_path)
    emitted(work)
    for stage in ("quantize", "calibrate", "emit"):
        assert contents(work.root / stage) == contents(whole / stage)


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


def test_a_program_beyond_the_bytecode_limit_is_refused(tmp_path: Path) -> None:
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
