"""dvc.yaml: free of the machine, complete, and its drift noticed."""

from __future__ import annotations

import re

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.dvc import dvcfile
from recast.pipeline.planning.make_plan import make_plan
from tests.lib.repository import ROOT


def test_commands_name_nothing_of_the_machine(write):
    document = dvcfile.dvc_document(make_plan(write({})))
    for entry in document["stages"].values():
        assert re.fullmatch(r"\./recast stage [A-Za-z0-9_]+( [A-Za-z0-9_/]+)?", entry["cmd"])
    assert str(ROOT) not in dvcfile.render(document)


def test_roots_read_the_guard_and_auto_reads_the_device(write):
    stages = dvcfile.dvc_document(make_plan(write({})))["stages"]
    assert dvcfile.GUARD_PASS in stages["base-data"]["deps"]
    assert dvcfile.GUARD_PASS not in stages["base-train"]["deps"]
    assert "device.txt" in stages["base-train"]["deps"]
    assert "device.txt" not in stages["base-export"]["deps"]
    assert stages["guard"]["deps"] == ["params.yaml", "recipes"]


def test_device_txt_is_made_where_it_is_missing_and_never_cached_or_removed(write):
    stages = dvcfile.dvc_document(make_plan(write({})))["stages"]
    assert list(stages)[:2] == ["guard", "guard-device"]
    outs = [{"device.txt": {"cache": False, "persist": True}}]
    assert stages["guard-device"] == {"cmd": "./recast stage guard device", "outs": outs}


def test_an_explicit_device_is_its_own_key(write):
    recipe = "model: models.net:Net\nstages:\n  data: {dataset: digits}\n  train: {device: cpu}\ntargets: {akida: {}}\n"
    stages = dvcfile.dvc_document(make_plan(write({"recipes/base.yaml": recipe})))["stages"]
    assert "device.txt" not in stages["base-train"]["deps"] and "guard-device" not in stages


def test_files_a_recipe_names_are_dependencies(write):
    recipe = "extends: base\nstages:\n  train: {weights: models/w.safetensors}\n"
    place = write({"recipes/mine.yaml": recipe, "models/w.safetensors": "x"})
    assert "models/w.safetensors" in dvcfile.dvc_document(make_plan(place))["stages"]["mine-train"]["deps"]


def test_metrics_plots_and_artifacts_stand_at_the_top(write):
    document = dvcfile.dvc_document(make_plan(write({})))
    measured = ("train", "akida/verify", "onnxruntime/verify")
    assert document["metrics"] == [f"artifacts/base/{id}/metrics.json" for id in measured]
    assert any("artifacts/base/train/loss.csv" in plot for plot in document["plots"])
    confusion = next(plot for plot in document["plots"] if "artifacts/base/akida/verify/confusion.csv" in plot)
    assert confusion["artifacts/base/akida/verify/confusion.csv"]["template"] == "confusion"
    assert document["artifacts"]["base-akida"]["path"] == "artifacts/base/akida/emit/model.fbz"


def test_a_shared_stage_is_written_once_and_gathered_by_both(write):
    stages = dvcfile.dvc_document(make_plan(write({"recipes/same.yaml": "extends: base\n"})))["stages"]
    assert stages["same"]["deps"] == stages["base"]["deps"]
    assert not any(name.startswith("same-") for name in stages)


def test_drift_is_noticed(write):
    place = write({})
    assert dvcfile.write(place, make_plan(place)) is True
    assert dvcfile.write(place, make_plan(place)) is False
    assert dvcfile.is_current(place, make_plan(place))
    recipe = place / "recipes/base.yaml"
    recipe.write_text(recipe.read_text().replace("  akida: {}\n", ""))
    assert not dvcfile.is_current(place, make_plan(place))
    plan = make_plan(place)
    stage = plan.stages["base/train"]
    dvcfile.refuse_stale_entry(place, "base-train", dvcfile.stage_entry(plan, stage))
    with pytest.raises(RecastError, match=r"no longer matches the recipes \(stage 'base'\); run './recast sync'"):
        dvcfile.refuse_stale_entry(place, "base", dvcfile.recipe_entry(plan, "base"))


def test_this_repositorys_dvc_yaml_is_current():
    assert dvcfile.is_current(ROOT, make_plan(ROOT))
