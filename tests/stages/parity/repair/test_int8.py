# environment: onnx
"""What int8 offers a repair: settings that are not taken yet, and layers in float in the order of what each loses."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from recast.stages.base import StageError
from recast.stages.common import loss_ranking
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.repair import int8
from recast.stages.repair import Made, Offer
from recast.stages.targets.onnxruntime import calibrate, emit, quantize, verify
from recast.stages.targets.wasm.quantize import QuantizeParams as WasmParams
from tests.lib.onnx_models import Workplace, cnn, write_data, write_export

STAGES = {"quantize": quantize.STAGE, "calibrate": calibrate.STAGE, "emit": emit.STAGE, "verify": verify.STAGE}


def _made(root: Path, **params: dict[str, Any]) -> Made:
    """The small network through all stages, with these params."""
    write_data(root / "data")
    write_export(root / "export", cnn(), root / "data")
    (root / "simplify").mkdir()
    onnx_files.write_model(cnn(), root / "simplify/model.onnx")
    work = Workplace(root)
    for name, stage in STAGES.items():
        work.run(stage, name, **params.get(name, {}))
    return Made({name: root / name for name in STAGES}, _params(**params))


def _params(**params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: stage.params(**params.get(name, {})).model_dump(mode="json") for name, stage in STAGES.items()}


def _said(offer: Offer) -> dict[str, list[dict[str, Any]]]:
    return {setting.name: [choice.values for choice in setting.choices] for setting in offer.settings}


def test_layers_go_to_float_in_the_order_of_blame_and_never_all_of_them(tmp_path: Path) -> None:
    made = _made(tmp_path, verify={"min_agreement": None})
    offer = int8.offer(made)
    rungs = [choice.values["quantize"]["nodes_to_exclude"] for choice in offer.ladder]
    assert rungs
    for before, after in pairwise(rungs):
        assert after[: len(before)] == before and len(after) > len(before)
    quantized = json.loads((tmp_path / "quantize/scheme.json").read_text())["quantized"]
    assert set(rungs[-1]) < set(quantized)
    # the first is what blame shows first, of what has nodes in int8
    report = json.loads((tmp_path / "verify/parity.json").read_text())
    conversion = next(one for one in report["conversions"] if one["kind"] == "int8")
    worst = loss_ranking.title(loss_ranking.ranked(conversion)[0])
    assert offer.ladder[0].says == f"1 layer in float: {worst}"
    assert offer.obstacles[0] == worst


def test_every_rung_is_one_that_the_stages_take(tmp_path: Path) -> None:
    offer = int8.offer(_made(tmp_path / "first", verify={"min_agreement": None}))
    last = offer.ladder[-1].values["quantize"]
    again = _made(tmp_path / "second", quantize=last, verify={"min_agreement": None})
    scheme = json.loads((tmp_path / "second/quantize/scheme.json").read_text())
    assert scheme["quantized"] and set(scheme["float"]) >= set(last["nodes_to_exclude"])
    # from there nothing is offered twice
    more = int8.offer(again)
    assert all(len(one.values["quantize"]["nodes_to_exclude"]) > len(last["nodes_to_exclude"]) for one in more.ladder)


def test_settings_are_offered_where_they_are_not_taken() -> None:
    said = _said(int8.offer(Made({}, _params())))
    assert {"calibrate": {"method": "minmax"}} not in said["ranges"]
    assert {"calibrate": {"method": "percentile", "percentile": 99.9}} in said["ranges"]
    assert said["weights"] == [{"quantize": {"weight_type": "uint8"}}]
    assert "samples" not in said and "scales of weights" not in said
    other = _said(
        int8.offer(Made({}, _params(quantize={"per_channel": False}, calibrate={"samples": 8, "method": "entropy"})))
    )
    assert list(other) == [
        *("together", "scales of weights", "weights", "channels", "biases", "rounding", "ranges", "samples")
    ]
    assert other["samples"] == [{"calibrate": {"samples": None}}]
    assert {"calibrate": {"method": "minmax"}} in other["ranges"]


def test_all_settings_at_once_come_first_and_those_alone_that_are_not_in_them(tmp_path: Path) -> None:
    offer = int8.offer(Made({}, _params()))
    together, *single = offer.settings
    assert together.name == "together"
    names = ("weights", "channels", "biases", "rounding", "ranges")
    assert together.covers == tuple(setting.name for setting in single) == names
    plain = {"bias_correction": True, "method": "mean"}
    better = {**plain, "weight_rounding": "gptq"}
    assert [choice.values for choice in together.choices] == [
        {"quantize": {"equalise": True}, "calibrate": plain},
        {"quantize": {"equalise": True}, "calibrate": better},
        {"quantize": {"weight_type": "uint8", "equalise": True}, "calibrate": better},
    ]
    wasm = {**_params(), "quantize": WasmParams(scheme="int8").model_dump(mode="json")}
    assert [choice.values["calibrate"]["method"] for choice in int8.offer(Made({}, wasm)).settings[0].choices] == [
        "mean",
        "mean",
        "percentile",
    ]
    # and the stages take them
    taken = together.choices[2].values
    made = _made(tmp_path, **taken, verify={"min_agreement": None})
    assert json.loads((tmp_path / "quantize/scheme.json").read_text())["equalise"] is True
    # from there nothing of it is offered again
    assert [setting.name for setting in int8.offer(made).settings] == ["ranges"]
    # and nothing twice
    few = _params(quantize={"equalise": True}, calibrate={"bias_correction": True, "method": "mean"})
    said = _said(int8.offer(Made({}, few)))
    assert len(said["together"]) == len({json.dumps(one) for one in said["together"]})


def test_limits_are_the_recipes_and_verify_can_do_without() -> None:
    offer = int8.offer(Made({}, _params(verify={"min_accuracy": 0.9, "max_accuracy_drop": 0.01, "min_sqnr_db": 30})))
    assert {(one.name, one.metric, one.how, one.limit) for one in offer.limits} == {
        ("min_accuracy", "accuracy", "min", 0.9),
        ("max_accuracy_drop", "accuracy", "drop", 0.01),
        ("min_agreement", "agreement", "min", 0.95),
        ("min_sqnr_db", "sqnr_db", "min", 30.0),
    }
    bare = verify.STAGE.params.model_validate_json(json.dumps(offer.without_limits["verify"]))
    assert int8.offer(Made({}, {**_params(), "verify": bare.model_dump(mode="json")})).limits == ()


def test_a_model_that_stays_in_float_is_refused() -> None:
    params = {**_params(), "quantize": WasmParams().model_dump(mode="json")}
    with pytest.raises(StageError, match="stays in float32") as refused:
        int8.offer(Made({}, params))
    assert "quantize.scheme" in refused.value.remedy
    int8.offer(Made({}, {**params, "quantize": WasmParams(scheme="int8").model_dump(mode="json")}))
