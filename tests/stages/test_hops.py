# environment: onnx
"""Faults planted at each hop of a 32-layer model are blamed on the right layer, and a correct one never is."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import hops, onnx_files
from stages.base import StageError
from stages.hops import Hop, Step, compare, measure, said, write
from stages.onnx_form import OnnxForm
from stages.onnxruntime import calibrate, quantize
from stages.parity import Kind
from stages.simplifier import main as simplify
from tests.stages import deep_model
from tests.stages.deep_model import FAULTS, attribute, change, copy, deep, node, samples

SEEDS = range(5)
SCHEME = {"per_channel": True, "reduce_range": False, "weight_type": "int8", "activation_type": "int8"}


def step(name: str, model: Any, kind: Kind = "float") -> Step:
    return Step(name, OnnxForm(model, 1, f"the {name} model"), kind)


def simplified(model: Any, folder: Path, tool: str = "onnxsim") -> Any:
    source, made = folder / "source.onnx", folder / "made.onnx"
    onnx_files.write_model(model, source)
    simplify(tool, str(source), str(made), "-", "-")
    return onnx_files.read_model(made)


def prepared(model: Any, folder: Path) -> Any:
    return quantize._prepare(model, folder)


def int8(model: Any, folder: Path, seed: int, **scheme: Any) -> Any:
    """As the stages quantize and calibrate make it of a prepared model."""
    quantized = quantize._quantizable(quantize.QuantizeParams(), model)
    floats = [one.name for one in model.graph.node if one.name not in quantized]
    ranges = calibrate._ranges(calibrate.CalibrateParams(), model, samples(seed + 50, 64), folder)
    return calibrate._quantize(model, {**SCHEME, **scheme, "quantized": quantized, "float": floats}, ranges)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, Any]]:
    @functools.cache
    def of(seed: int) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("chain")
        exported = deep(seed)
        simple = simplified(exported, folder)
        ready = prepared(simple, folder)
        return {"exported": exported, "simplified": simple, "prepared": ready, "quantized": int8(ready, folder, seed)}

    return of


def measured(models: dict[str, Any], seed: int) -> dict[str, Hop]:
    kinds: dict[str, Kind] = {"quantized": "int8", "emitted": "same"}
    steps = [step(name, model, kinds.get(name, "float")) for name, model in models.items()]
    return {hop.after: hop for hop in measure(steps, samples(seed), {})}


def layers_at_fault(hop: Hop) -> tuple[str, ...]:
    return () if hop.blamed is None else (*hop.blamed.covers, hop.blamed.layer)


def test_the_model_has_more_than_thirty_layers_and_each_hop_shows_most() -> None:
    assert len(deep(0).graph.node) >= 30


@pytest.mark.parametrize("seed", SEEDS)
def test_a_correct_model_is_never_blamed(chain: Any, seed: int) -> None:
    models = {**chain(seed), "emitted": chain(seed)["quantized"]}
    found = measured(models, seed)
    assert list(found) == ["simplified", "prepared", "quantized", "emitted"]
    assert {name: layers_at_fault(hop) for name, hop in found.items()} == dict.fromkeys(found, ())
    assert all(len(hop.layers) >= 20 for hop in found.values())
    assert found["simplified"].output.sqnr_db > 100
    assert found["quantized"].output.sqnr_db < 60 and found["quantized"].agreement is not None
    # the gradual loss of int8 is there, and is no jump
    assert found["quantized"].output.sqnr_db < min(
        layer.alone.sqnr_db for layer in found["quantized"].layers if layer.alone
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme", [{"per_channel": False}, {"activation_type": "uint8"}])
def test_a_correct_int8_model_of_another_scheme_is_never_blamed(
    chain: Any, seed: int, scheme: dict[str, Any], tmp_path: Path
) -> None:
    ready = chain(seed)["prepared"]
    found = measured({"prepared": ready, "quantized": int8(ready, tmp_path, seed, **scheme)}, seed)
    assert layers_at_fault(found["quantized"]) == ()
    assert len(found["quantized"].layers) >= 20


@pytest.mark.parametrize("seed", SEEDS)
def test_the_other_simplifier_is_never_blamed(seed: int, tmp_path: Path) -> None:
    exported = deep(seed)
    found = measured({"exported": exported, "simplified": simplified(exported, tmp_path, "onnxslim")}, seed)
    assert layers_at_fault(found["simplified"]) == ()
    assert len(found["simplified"].layers) >= 20


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("hop", ["simplified", "prepared", "quantized"])
def test_a_planted_fault_is_blamed_on_its_layer_and_its_hop(chain: Any, tmp_path: Path, fault: str, hop: str) -> None:
    plant, layer = FAULTS[fault]
    for seed in SEEDS:
        models = dict(chain(seed))
        names = list(models)
        faulty = copy(models["exported"])
        plant(faulty)
        folder = tmp_path / str(seed)
        folder.mkdir()
        wrong = simplified(faulty, folder)
        after: dict[str, Any] = {"simplified": wrong, "prepared": prepared(wrong, folder)}
        after["quantized"] = int8(after["prepared"], folder, seed)
        models |= {name: after[name] for name in names[names.index(hop) :]}
        found = measured(models, seed)
        blamed = {name: layers_at_fault(one) for name, one in found.items()}
        assert layer in blamed.pop(hop), (seed, found[hop].blamed)
        assert blamed == dict.fromkeys(blamed, ()), seed


@pytest.mark.parametrize("tensor", ["block3.relu", "block1.add", "fc1.relu"])
@pytest.mark.parametrize("hop", ["quantized", "emitted"])
def test_a_saturating_scale_is_blamed_on_the_layer_whose_output_it_cuts(chain: Any, tensor: str, hop: str) -> None:
    for seed in SEEDS:
        wrong = copy(chain(seed)["quantized"])
        change(wrong, f"{tensor}_scale", lambda scale: scale / 6)
        models = {"prepared": chain(seed)["prepared"], "quantized": wrong}
        if hop == "emitted":
            models = {"prepared": chain(seed)["prepared"], "quantized": chain(seed)["quantized"], "emitted": wrong}
        found = measured(models, seed)
        assert tensor in layers_at_fault(found[hop]), (seed, found[hop].blamed)


def weight_of(model: Any, output: str) -> str:
    """The stored int8 weight of the layer whose dequantized output is this."""
    makers = {name: one for one in model.graph.node for name in one.output}
    return str(makers[node(model, output).input[1]].input[0])


def scale_of(model: Any, output: str) -> str:
    makers = {name: one for one in model.graph.node for name in one.output}
    return str(makers[node(model, output).input[1]].input[1])


EMITTED: dict[str, tuple[Callable[[Any], None], str]] = {
    "swapped padding": (lambda model: attribute(node(model, "stem.relu"), "pads", [1, 1, 0, 0]), "stem"),
    "wrong axis": (deep_model.wrong_axis, "gate"),
    "truncated weight": (
        lambda model: change(
            model,
            weight_of(model, "block1.relu"),
            lambda w: w * (np.arange(len(w)) < 12)[:, None, None, None],
        ),
        "block1.conv",
    ),
    "transposed Gemm": (lambda model: change(model, weight_of(model, "fc2.relu"), lambda w: w.T), "fc2"),
    "wrong normalisation": (
        lambda model: change(model, scale_of(model, "block2.relu"), lambda scale: scale[::-1]),
        "block2.norm",
    ),
}
"""in the int8 model a Conv or Gemm gives what the ReLU behind it gave, with which it was fused"""


@pytest.mark.parametrize("fault", EMITTED)
def test_a_fault_in_the_emitted_int8_model_is_blamed_on_its_layer(chain: Any, fault: str) -> None:
    plant, layer = EMITTED[fault]
    for seed in SEEDS:
        models = dict(chain(seed))
        models["emitted"] = copy(models["quantized"])
        plant(models["emitted"])
        found = measured(models, seed)
        blamed = {name: layers_at_fault(one) for name, one in found.items()}
        assert layer in blamed.pop("emitted"), (seed, found["emitted"].blamed)
        assert blamed == dict.fromkeys(blamed, ()), seed


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
    hop = compare(step("a", model((1.0,))), step("b", model((1.1, -0.1))), x, {})
    ends = {layer.layer: layer.after.sqnr_db for layer in hop.layers}
    assert ends["high"] > 120 and ends["low"] < 80 and hop.output.sqnr_db < 80
    assert layers_at_fault(hop) == ()


def test_int8_layers_are_ranked_by_what_they_cost(chain: Any) -> None:
    wrong = copy(chain(0)["quantized"])
    change(wrong, "block1.add_scale", lambda scale: scale / 6)
    hop = measured({"prepared": chain(0)["prepared"], "quantized": wrong}, 0)["quantized"]
    assert hops.ranked(hop.layers)[0].layer == "block1.add"
    costs = {name: cost.sqnr_db for name, (cost, _) in hop.only.items()}
    assert len(costs) == len(hop.layers) and min(costs, key=costs.__getitem__) == "block1.add"


def test_the_sentence_names_the_layer_and_the_error_before_and_after(chain: Any) -> None:
    wrong = copy(chain(0)["exported"])
    deep_model.transpose_gemm(wrong)
    hop = compare(step("exported", chain(0)["exported"]), step("simplified", wrong), samples(0), {"fc2": "head.fc2"})
    text = said([hop])
    assert text.startswith("the error jumps at layer head.fc2 (exported → simplified): SQNR falls from 200.0 dB ")
    assert "(largest error 0) before it to " in text and "after it; given the right input it has " in text


def test_without_a_jump_the_sentence_says_what_loses_most(chain: Any) -> None:
    found = measured({name: chain(0)[name] for name in ("prepared", "quantized")}, 0)
    text = said(list(found.values()))
    assert text.startswith("no single layer is at fault: from prepared to quantized the output keeps ")
    assert "most is lost at " in text


def test_report_and_plot(chain: Any, tmp_path: Path) -> None:
    found = list(measured(dict(chain(0)), 0).values())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, found)
    report = json.loads((tmp_path / "a" / hops.REPORT).read_text())
    assert [(hop["from"], hop["to"]) for hop in report["hops"]] == [
        ("exported", "simplified"),
        ("simplified", "prepared"),
        ("prepared", "quantized"),
    ]
    last = report["hops"][-1]
    assert last["blamed"] is None and 0 <= last["output"]["agreement"] <= 1
    assert all(
        15 < layer["alone"]["sqnr_db"] < 80 for layer in last["layers"] if "QuantizeLinear" not in layer["operation"]
    )
    with (tmp_path / "a" / hops.ERRORS.file).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == [layer["layer"] for layer in last["layers"]]
    assert all(float(row["relative_error"]) > 0 for row in rows)
    assert {hops.ERRORS.x, *hops.ERRORS.y} <= rows[0].keys()
    assert (tmp_path / "a" / hops.REPORT).read_bytes() == (tmp_path / "b" / hops.REPORT).read_bytes()


def test_a_runtime_that_cannot_run_layers_alone_is_compared_end_to_end(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, x: Any, given: Any) -> Any:
        raise StageError("no such input")

    wrong = copy(chain(0)["exported"])
    deep_model.transpose_gemm(wrong)
    monkeypatch.setattr(OnnxForm, "alone", refuse)
    hop = compare(step("exported", chain(0)["exported"]), step("simplified", wrong), samples(0), {})
    assert hop.note == "no such input"
    assert layers_at_fault(hop) == ("fc2",) and all(layer.alone is None for layer in hop.layers)
