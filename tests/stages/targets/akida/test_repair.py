# environment: akida
"""What akida offers a repair: other inputs and other samples, each a value that its stages take."""

from __future__ import annotations

import json
from pathlib import Path

from recast.stages.repair import Made
from recast.stages.targets.akida import calibrate, emit, quantize, repair, verify
from tests.lib.akida.calibrated_model import workplace

STAGES = {"quantize": quantize.STAGE, "calibrate": calibrate.STAGE, "emit": emit.STAGE, "verify": verify.STAGE}


def test_what_is_offered_is_taken_by_the_stages(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    (tmp_path / "data/metrics.json").write_text(json.dumps({"calibration_samples": 64}))
    params = {name: stage.params().model_dump(mode="json") for name, stage in STAGES.items()}
    params["calibrate"]["samples"] = 64
    offer = repair.offer(Made({name: tmp_path / name for name in ("data", "quantize", "calibrate")}, params))
    said = {setting.name: [choice.values for choice in setting.choices] for setting in offer.settings}
    assert said["samples"] == [{"calibrate": {"samples": 32}}]  # no more than there are
    assert said["scales of activations"] == [{"quantize": {"per_tensor_activations": True}}]
    assert said["ranges"] == [{"calibrate": {"percentile": 99}}]
    assert said["channels"] == [{"quantize": {"equalise": True}}]
    taken = json.loads((tmp_path / "quantize/scheme.json").read_text())
    inputs = [values["quantize"] for values in said["input"]]
    assert len(inputs) == 2
    assert {"input": taken["input"], "input_type": taken["input_type"]} not in inputs
    for number, values in enumerate(inputs):
        work.run(quantize.STAGE, f"quantize.{number}", **values)
        made = json.loads((tmp_path / f"quantize.{number}/scheme.json").read_text())
        assert {name: made[name] for name in values} == values
    assert [one.name for one in offer.limits] == ["min_agreement"]
    assert offer.ladder == ()


def test_before_the_first_run_only_limits_are_said() -> None:
    params = {name: stage.params(**{}).model_dump(mode="json") for name, stage in STAGES.items()}
    offer = repair.offer(Made({}, params))
    assert offer.settings == () and offer.figures and offer.limits
