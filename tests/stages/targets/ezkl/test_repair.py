# environment: ezkl
"""What ezkl offers a repair: larger and larger scales, which its stages take."""

from __future__ import annotations

from pathlib import Path

import pytest

from recast.stages.repair import Made
from recast.stages.targets.ezkl import calibrate, quantize, repair, verify
from tests.lib.ezkl import circuits
from tests.lib.onnx_models import Workplace

STAGES = {"quantize": quantize.STAGE, "calibrate": calibrate.STAGE}
ALL = {**STAGES, "verify": verify.STAGE}


def made_by(root: Path, **params: dict[str, object]) -> Made:
    work = circuits.workplace(root, circuits.mlp())
    for name, stage in STAGES.items():
        work.run(stage, name, **params.get(name, {}))
    taken = {name: stage.params(**params.get(name, {})).model_dump(mode="json") for name, stage in ALL.items()}
    return Made({name: root / name for name in STAGES}, taken)


def test_each_rung_has_smaller_errors(tmp_path: Path) -> None:
    offer = repair.offer(made_by(tmp_path / "first"))
    assert len(offer.ladder) == repair.MOST_MORE
    third = offer.ladder[2].values
    assert set(third) == {"quantize"}
    before = calibrate.STAGE.params()
    assert before.max_abs_error is not None
    again = made_by(tmp_path / "second", **third)
    errors = []
    for root, scales in ((tmp_path / "first", {}), (tmp_path / "second", third["quantize"])):
        work = Workplace(root)
        metrics = work.run(calibrate.STAGE, "measured")
        errors.append(metrics["max_abs_error"])
        assert all(metrics[name] == value for name, value in scales.items())
    assert errors[1] < errors[0] / 3
    # the ladder goes on from there
    assert repair.offer(again).ladder[0].values["quantize"]["param_scale"] == third["quantize"]["param_scale"] + 1


def test_scales_that_ezkl_chooses_are_given_up_for_those_that_are_tried(tmp_path: Path) -> None:
    offer = repair.offer(made_by(tmp_path, calibrate={"scales": [2, 3], "max_abs_error": None, "min_agreement": None}))
    assert all(choice.values["calibrate"] == {"scales": None} for choice in offer.ladder)


def test_limits_of_both_stages_are_left_out_of_candidates() -> None:
    params = {name: stage.params().model_dump(mode="json") for name, stage in ALL.items()}
    offer = repair.offer(Made({}, params))
    assert offer.ladder == ()
    assert {one.name for one in offer.limits} == {"min_agreement", "max_abs_error"}
    for name, values in offer.without_limits.items():
        bare = ALL[name].params.model_validate({**params[name], **values})
        assert all(getattr(bare, limit) is None for limit in ("max_abs_error", "min_agreement"))


@pytest.mark.parametrize("scale", [24, 30])
def test_no_scale_is_larger_than_quantize_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: int) -> None:
    made = made_by(tmp_path)
    found = repair.settings.read(tmp_path / "calibrate/settings.json")
    found.raw["run_args"]["param_scale"] = scale
    monkeypatch.setattr(repair.settings, "read", lambda path: found)
    for choice in repair.offer(made).ladder:
        quantize.STAGE.params(**choice.values["quantize"])
    assert len(repair.offer(made).ladder) == min(repair.MOST_MORE, 30 - scale)
