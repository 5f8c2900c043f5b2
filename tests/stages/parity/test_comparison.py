# environment: onnx
"""Conversions of a network of 32 layers, and what is said of them. Faults are planted in test_fault_matrix.py."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.base import StageError
from recast.stages.parity import metrics
from recast.stages.parity.comparison import compare
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.parity.report import ERRORS, REPORT, said, write
from tests.lib import deep_model
from tests.lib.deep_model import deep, samples
from tests.lib.faults import change, copy, in_float
from tests.lib.onnx_models import initializer, model
from tests.lib.onnxruntime_chain import forms, int8, layers_at_fault, measured, named, simplified

SEEDS = [0, 1, pytest.param(2, marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, Any]]:
    @functools.cache
    def of(seed: int) -> dict[str, Any]:
        made = forms(deep(seed), tmp_path_factory.mktemp("chain"), samples(seed + 50, 64))
        return {name: model for name, model in made.items() if name != "emitted"}

    return of


def transpose_gemm(model: Any) -> None:
    entry = in_float("transposed Gemm", deep_model.SITES["transposed Gemm"])
    entry.plant(model)


def test_the_model_has_more_than_thirty_layers_and_each_conversion_shows_most() -> None:
    assert len(deep(0).graph.node) >= 30


@pytest.mark.parametrize("seed", SEEDS)
def test_the_gradual_loss_of_int8_is_no_jump(chain: Any, seed: int) -> None:
    found = measured(chain(seed), samples(seed))
    assert found["simplified"].output.sqnr_db > 100
    quantized = found["quantized"]
    assert quantized.output.sqnr_db < 60 and quantized.agreement is not None
    assert quantized.output.sqnr_db < min(layer.alone.sqnr_db for layer in quantized.layers if layer.alone)
    assert layers_at_fault(quantized) == ()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme", [{"per_channel": False}, {"activation_type": "int8"}])
def test_a_correct_int8_model_of_another_scheme_is_never_blamed(
    chain: Any, seed: int, scheme: dict[str, Any], tmp_path: Path
) -> None:
    ready = chain(seed)["prepared"]
    found = measured(
        {"prepared": ready, "quantized": int8(ready, tmp_path, samples(seed + 50, 64), **scheme)}, samples(seed)
    )
    assert layers_at_fault(found["quantized"]) == ()
    assert len(found["quantized"].layers) >= 20


@pytest.mark.parametrize("seed", SEEDS)
def test_the_other_simplifier_is_never_blamed(seed: int, tmp_path: Path) -> None:
    exported = deep(seed)
    found = measured({"exported": exported, "simplified": simplified(exported, tmp_path, "onnxslim")}, samples(seed))
    assert layers_at_fault(found["simplified"]) == ()
    assert len(found["simplified"].layers) >= 20


def test_rounding_that_a_later_layer_magnifies_is_not_blamed() -> None:
    """A difference of near equals: 140 dB before it are 60 dB behind it, and no layer is at fault."""
    import onnx

    def model(steps: tuple[float, ...]) -> Any:
        far = np.full((1, 8), 3e4, np.float32)
        weights = [onnx.numpy_helper.from_array(far * np.float32(part), f"far{i}") for i, part in enumerate(steps)]
        weights.append(onnx.numpy_helper.from_array(far, "far"))
        weights.append(
            onnx.numpy_helper.from_array(np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32), "w")
        )
        sums = ["x", *(f"sum{i}" for i in range(len(steps) - 1)), "high"]
        nodes = [onnx.helper.make_node("Add", [sums[i], f"far{i}"], [sums[i + 1]]) for i in range(len(steps))]
        nodes.append(onnx.helper.make_node("Sub", ["high", "far"], ["low"]))
        nodes.append(onnx.helper.make_node("MatMul", ["low", "w"], ["y"]))
        kind = onnx.TensorProto.FLOAT
        ports = [onnx.helper.make_tensor_value_info(name, kind, ["batch", 8]) for name in ("x", "y")]
        graph = onnx.helper.make_graph(nodes, "far", ports[:1], ports[1:], weights)
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)

    x = np.random.default_rng(1).normal(size=(16, 8)).astype(np.float32)
    conversion = compare(named("a", model((1.0,))), named("b", model((1.1, -0.1))), x, {})
    ends = {layer.layer: layer.after.sqnr_db for layer in conversion.layers}
    assert ends["high"] > 120 and ends["low"] < 80 and conversion.output.sqnr_db < 80
    assert layers_at_fault(conversion) == ()


def test_int8_layers_are_ranked_by_what_they_cost(chain: Any) -> None:
    wrong = copy(chain(0)["quantized"])
    change(wrong, "block1.add_scale", lambda scale: scale / 6)
    conversion = measured({"prepared": chain(0)["prepared"], "quantized": wrong}, samples(0))["quantized"]
    assert metrics.ranked(conversion.layers)[0].layer == "block1.add"
    costs = {name: cost.sqnr_db for name, (cost, _) in conversion.only.items()}
    assert len(costs) == len(conversion.layers) and min(costs, key=costs.__getitem__) == "block1.add"


def test_the_sentence_names_the_layer_and_the_error_before_and_after(chain: Any) -> None:
    wrong = copy(chain(0)["exported"])
    transpose_gemm(wrong)
    conversion = compare(
        named("exported", chain(0)["exported"]), named("simplified", wrong), samples(0), {"fc2": "head.fc2"}
    )
    text = said([conversion])
    assert text.startswith("the error jumps at layer head.fc2 (exported → simplified): SQNR falls from 200.0 dB ")
    assert "(largest error 0) before it to " in text and "after it; given the right input it has " in text


def test_without_a_jump_the_sentence_says_what_loses_most(chain: Any) -> None:
    found = measured({name: chain(0)[name] for name in ("prepared", "quantized")}, samples(0))
    text = said(list(found.values()))
    assert text.startswith("no single layer is at fault: from prepared to quantized the output keeps ")
    assert "most is lost at " in text


def test_report_and_plot(chain: Any, tmp_path: Path) -> None:
    found = list(measured(chain(0), samples(0)).values())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, found)
    report = json.loads((tmp_path / "a" / REPORT).read_text())
    assert [(conversion["from"], conversion["to"]) for conversion in report["conversions"]] == [
        ("exported", "simplified"),
        ("simplified", "prepared"),
        ("prepared", "quantized"),
    ]
    last = report["conversions"][-1]
    assert last["blamed"] is None and 0 <= last["output"]["agreement"] <= 1
    assert all(
        15 < layer["alone"]["sqnr_db"] < 80 for layer in last["layers"] if "QuantizeLinear" not in layer["operation"]
    )
    with (tmp_path / "a" / ERRORS.file).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == [" + ".join([*one["covers"], one["layer"]]) for one in last["layers"]]
    assert all(float(row["relative_error"]) > 0 for row in rows)
    assert {ERRORS.x, *ERRORS.y} <= rows[0].keys()
    assert (tmp_path / "a" / REPORT).read_bytes() == (tmp_path / "b" / REPORT).read_bytes()


def test_a_runtime_that_cannot_run_layers_alone_is_compared_end_to_end(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, x: Any, given: Any) -> Any:
        raise StageError("no such input")

    wrong = copy(chain(0)["exported"])
    transpose_gemm(wrong)
    monkeypatch.setattr(OnnxForm, "alone", refuse)
    conversion = compare(named("exported", chain(0)["exported"]), named("simplified", wrong), samples(0), {})
    assert conversion.note == "no such input"
    assert layers_at_fault(conversion) == ("fc2",) and all(layer.alone is None for layer in conversion.layers)


def numbered(*, as_integers: bool) -> Any:
    """A dense layer and a ReLU; the tensor val_1 is its values, or what is left of them as integers."""
    node = onnx.helper.make_node
    nodes = [node("Flatten", ["image"], ["flat"], "flat"), node("MatMul", ["flat", "weight"], ["one"], "dot")]
    if as_integers:
        nodes += [
            node("Relu", ["one"], ["two"], "relu"),
            node("Cast", ["two"], ["val_1"], "down", to=onnx.TensorProto.INT64),
            node("Cast", ["val_1"], ["whole"], "up", to=onnx.TensorProto.FLOAT),
            node("Mul", ["whole", "zero"], ["nothing"], "times"),
            node("Add", ["two", "nothing"], ["scores"], "end"),
        ]
    else:
        nodes += [node("Relu", ["one"], ["val_1"], "relu"), node("Identity", ["val_1"], ["scores"], "end")]
    weight = initializer("weight", np.random.default_rng(0).normal(size=(64, 4)))
    return model(nodes, [weight, initializer("zero", 0.0)])


def test_a_number_that_a_tool_gave_to_integers_stands_for_nothing_of_the_form_before() -> None:
    x = np.random.default_rng(1).normal(size=(6, 1, 8, 8)).astype(np.float32)
    both = {"exported": numbered(as_integers=False), "simplified": numbered(as_integers=True)}
    found = measured(both, x)["simplified"]
    assert found.blamed is None
    assert "one" in {layer.layer for layer in found.layers}
