"""One broken recipe does not block the others: they run, and dvc.yaml keeps its stages as they stood."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from recast.pipeline.cli.main import main
from recast.pipeline.core.errors import RecastError, RecipeError
from recast.pipeline.dvc import dvcfile
from recast.pipeline.dvc.sync import sync
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.partial_plan import make_sound_plan, warning
from tests.lib.as_if_run import lay_as_if_run
from tests.lib.repository import call, parsed_lock

OTHER = """\
model: models.net:Net
stages:
  data: {dataset: digits}
  train: {epochs: 4}
  export: {opset: 18}
targets:
  onnxruntime:
    verify: {min_agreement: 0.5}
"""
# what is written over other.yaml, where that is said to be wrong, and what is said
BROKEN = {
    "it does not parse": ("stages: {data: {\n", "recipes/other.yaml:2:1", "is not valid YAML"),
    "an unknown param": (OTHER.replace("epochs", "epoch"), "recipes/other.yaml:4:11", "did you mean 'epochs'?"),
    "an unknown target": (OTHER.replace("onnxruntime", "onyx"), "recipes/other.yaml:7:3", "no target named 'onyx'"),
}


@pytest.fixture
def root(write) -> Path:
    """Two recipes, base and other, as if both had run: their outputs were laid there and committed."""
    return lay_as_if_run(write, {"recipes/other.yaml": OTHER})


def recast(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return call(root, "./recast", *arguments, check=False)


def dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return call(root, sys.executable, "-m", "dvc", *arguments, check=False)


def stages(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((root / "dvc.yaml").read_text())["stages"]
    return found


def of_other(entries: dict[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in entries.items() if name.partition("-")[0] == "other"}


def assert_warned(done: subprocess.CompletedProcess[str], where: str, what: str) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{where}: " in done.stderr and what in done.stderr
    assert done.stderr.count("recast: warning:") == 1 and "Traceback" not in done.stderr
    assert "'other' was left in dvc.yaml as it stood" in done.stderr


@pytest.mark.parametrize(("text", "where", "what"), BROKEN.values(), ids=BROKEN)
def test_the_others_run_by_recast_and_by_dvc(root, text, where, what):
    described, recorded = (root / "dvc.yaml").read_bytes(), of_other(parsed_lock(root)["stages"])
    (root / "recipes/other.yaml").write_text(text)
    first = recast(root, "run", "base")
    assert_warned(first, where, what)
    assert "guard: done" in first.stdout and "base: done" not in first.stdout
    lock = (root / "dvc.lock").read_bytes()
    again = recast(root, "run", "base", "--json")  # from what the first remembers
    assert_warned(again, where, what)
    assert {json.loads(line)["event"] for line in again.stdout.splitlines()} == {"planned", "changed", "ended"}
    assert "up to date" in dvc(root, "status", "--with-deps", "base").stdout
    by_dvc = dvc(root, "repro", "base")
    assert by_dvc.returncode == 0 and "Running stage" not in by_dvc.stdout
    assert (root / "dvc.lock").read_bytes() == lock
    assert (root / "dvc.yaml").read_bytes() == described
    assert of_other(parsed_lock(root)["stages"]) == recorded and len(recorded) == 9


def test_dvc_runs_the_others_and_its_guard_warns(root):
    text, where, what = BROKEN["it does not parse"]
    (root / "recipes/other.yaml").write_text(text)
    done = dvc(root, "repro", "base")
    assert "Running stage 'guard'" in done.stdout and done.stdout.count("Running stage") == 1
    assert_warned(done, where, what)
    assert "15 stages up to date" in recast(root, "run", "base").stdout


def test_the_others_are_planned_and_explained(root):
    text, where, what = BROKEN["an unknown param"]
    (root / "recipes/other.yaml").write_text(text)
    for verb in (("plan", "base"), ("run", "base", "--dry"), ("explain", "base/akida/verify")):
        done = recast(root, *verb)
        assert_warned(done, where, what)
        assert "up to date" in done.stdout and "other" not in done.stdout
    # without a look at dvc.yaml there is nothing to warn of
    done = recast(root, "plan", "base", "--no-status")
    assert done.returncode == 0 and done.stderr == ""


def test_the_broken_one_and_what_concerns_all_of_them_still_fail(root, monkeypatch, capsys):
    text, where, what = BROKEN["an unknown param"]
    (root / "recipes/other.yaml").write_text(text)
    described, recorded = (root / "dvc.yaml").read_bytes(), (root / "dvc.lock").read_bytes()
    monkeypatch.chdir(root)
    for verb in (
        ("run", "other"),
        ("run", "base", "other"),
        ("run",),
        ("plan", "other"),
        ("explain", "other"),
        ("run", "other", "--dry"),
        ("sync",),
        ("sync", "--check"),
        ("check",),
    ):
        with pytest.raises(SystemExit) as exit:
            main(list(verb))
        said = capsys.readouterr()
        assert exit.value.code == 2 and said.out == "", verb
        assert said.err.count(where) == 1 and what in said.err and "warning" not in said.err
        assert "1 problem, nothing was run" in said.err
    assert (root / "dvc.yaml").read_bytes() == described and (root / "dvc.lock").read_bytes() == recorded


def test_dvc_repro_of_the_broken_one_fails_where_a_stage_would_run(root):
    text, where, what = BROKEN["an unknown param"]
    (root / "recipes/other.yaml").write_text(text)
    done = dvc(root, "repro", "other")
    assert done.returncode != 0 and "failed to reproduce 'other-train'" in done.stderr
    assert done.stderr.count(where) == 2 and what in done.stderr  # the guard's warning, and the stage's error


def test_a_sound_recipe_may_change_while_the_broken_one_stands(root):
    before = stages(root)
    (root / "recipes/other.yaml").write_text("stages: {data: {\n")
    base = root / "recipes/base.yaml"
    base.write_text(base.read_text().replace("  onnxruntime: {}\n", ""))
    (root / "recipes/third.yaml").write_text("extends: base\ntargets: {akida: {emit: {require_hardware: true}}}\n")
    # only a run, which writes dvc.yaml, can go on; it says so
    for verb in (("explain", "base"), ("run", "base", "--dry")):
        done = recast(root, *verb)
        assert done.returncode == 2 and "run './recast run NAME', or mend recipes/other.yaml" in done.stderr
    done = dvc(root, "repro", "base")
    assert done.returncode != 0 and "dvc.yaml no longer matches the recipes; run './recast run NAME'" in done.stderr
    done = recast(root, "run", "base")
    assert_warned(done, "recipes/other.yaml:2:1", "is not valid YAML")
    assert "wrote dvc.yaml" in done.stdout and "base: failed" not in done.stdout
    after = stages(root)
    assert of_other(after) == of_other(before)
    assert "base-onnxruntime-emit" not in after and "third-akida-emit" in after
    assert list(after) == sorted(after, key=lambda name: (not name.startswith("guard"), name.partition("-")[0]))
    assert dvc(root, "repro", "base").returncode == 0
    # mended, dvc.yaml is what it would be had nothing been broken
    (root / "recipes/other.yaml").write_text(OTHER)
    assert recast(root, "sync").returncode == 0
    assert of_other(stages(root)) == of_other(before) and dvcfile.is_current(root, make_plan(root))


# -- which recipes a mistake concerns, and what dvc.yaml keeps; no DVC is asked


def planned(write, before: dict[str, str], after: dict[str, str]) -> Path:
    place: Path = write(before)
    dvcfile.write(place, make_plan(place))
    for name, text in after.items():
        (place / name).write_text(text)
    return place


EXTENDING = {"recipes/mine.yaml": "extends: base\nstages:\n  train: {lr: 0.5}\n", "recipes/other.yaml": OTHER}


def test_a_broken_base_breaks_what_extends_it_and_no_more(write):
    place = planned(write, EXTENDING, {"recipes/base.yaml": "stage: {}\n"})
    before = stages(place)
    plan = make_sound_plan(place, ["other"])
    assert list(plan.recipes) == ["other"] and plan.broken == ("base", "mine")
    assert "recipes 'base', 'mine' were left in dvc.yaml as they stood" in warning(plan)
    assert dvcfile.is_current(place, plan) and not dvcfile.write(place, plan)
    (place / "recipes/new.yaml").write_text(OTHER)
    assert dvcfile.write(place, make_sound_plan(place, ["other"]))
    after = stages(place)
    assert {name: after[name] for name in before} == before and "new-train" in after
    for name in ("base", "mine"):
        with pytest.raises(RecipeError, match=r"^recipes/base.yaml:1:1: unknown key 'stage'[^\n]*$"):
            make_sound_plan(place, [name])


def test_a_broken_target_breaks_the_recipes_that_have_it(write):
    place = planned(write, {"recipes/other.yaml": OTHER}, {"recipes/targets/akida.yaml": "stages: [\n"})
    plan = make_sound_plan(place, ["other"])
    assert plan.broken == ("base",) and dvcfile.is_current(place, plan)
    schema = place / "recipes/schema.json"
    schema.write_text("{}")
    sync(place, plan, lambda text: None)  # the schema describes every target, so it cannot be written
    assert schema.read_text() == "{}"


def test_a_target_that_no_recipe_has_yet_may_be_half_written(write):
    place = planned(write, {}, {"recipes/targets/tpu.yaml": "stages:\n  emit: {}\n"})
    plan = make_sound_plan(place, ["base"])
    assert plan.broken == () and "recipes/targets/tpu.yaml:2:3: no registered stage" in warning(plan)
    sync(place, plan, lambda text: None)
    with pytest.raises(RecipeError, match=r"tpu.yaml"):
        sync(place, make_plan(place), lambda text: None)


def test_defaults_concern_every_recipe(write):
    place = planned(write, {"recipes/other.yaml": OTHER}, {"params.yaml": "target: {}\n"})
    with pytest.raises(RecipeError, match="unknown key 'target'"):
        make_sound_plan(place, [])


def test_files_that_can_be_no_recipe_are_named_and_take_nothing_with_them(write):
    # 'base-akida' begins like stages of base
    files = {"recipes/base-akida.yaml": OTHER, "recipes/guard.yaml": OTHER, "recipes/r.yml": OTHER}
    place = planned(write, {"recipes/other.yaml": OTHER}, files)
    base = place / "recipes/base.yaml"
    base.write_text(base.read_text().replace("  akida: {}\n", ""))
    plan = make_sound_plan(place, ["other"])
    said = warning(plan)
    assert all(file in said for file in files) and set(plan.recipes) == {"base", "other"}
    described = place / "dvc.yaml"
    described.write_text(described.read_text().replace("./recast stage guard\n", "./recast stage of old\n"))
    assert dvcfile.write(place, plan)
    assert not [name for name in stages(place) if name.startswith("base-akida")]
    assert stages(place)["guard"] == dvcfile.guard_entry()


def test_metrics_plots_and_artifacts_are_kept_too(write):
    place = planned(write, {"recipes/other.yaml": OTHER}, {"recipes/base.yaml": "stage: {}\n"})
    before = YAML(typ="safe").load((place / "dvc.yaml").read_text())
    (place / "recipes/new.yaml").write_text(OTHER)
    dvcfile.write(place, make_sound_plan(place, ["other"]))
    after = YAML(typ="safe").load((place / "dvc.yaml").read_text())
    for key in ("metrics", "plots"):
        kept = [entry for entry in after[key] if "artifacts/new/" not in str(entry)]
        assert kept == before[key] and len(kept) < len(after[key])
    assert before["artifacts"].items() < after["artifacts"].items()


def test_what_the_broken_one_reads_of_a_sound_one_stays(write):
    # base's own targets have branches of their own from export on, so only mine has the trunk's export
    own = "model: models.net:Net\nstages:\n  data: {dataset: digits}\ntargets:\n  onnxruntime: {export: {opset: 18}}\n"
    files = {"recipes/base.yaml": own, "recipes/mine.yaml": "extends: base\ntargets: {akida: {}}\n"}
    place = planned(write, files, {})
    before = stages(place)
    assert "base-simplify" in before and "mine-akida-emit" in before
    (place / "recipes/mine.yaml").write_text("stage: {}\n")
    plan = make_sound_plan(place, ["base"])
    assert "base/simplify" not in plan.stages
    assert dvcfile.is_current(place, plan)
    (place / "recipes/new.yaml").write_text(OTHER)
    dvcfile.write(place, make_sound_plan(place, ["base"]))
    assert before.items() < stages(place).items()


def test_a_recipe_that_is_deleted_goes_though_another_is_broken(write):
    place = planned(write, EXTENDING, {"recipes/other.yaml": "stages: {\n"})
    (place / "recipes/mine.yaml").unlink()
    dvcfile.write(place, make_sound_plan(place, ["base"]))
    assert "mine-train" not in stages(place) and "other-train" in stages(place)


def test_a_dvc_yaml_that_cannot_be_read_is_not_overwritten(write):
    place = planned(write, {"recipes/other.yaml": OTHER}, {"recipes/other.yaml": "stages: {\n"})
    plan = make_sound_plan(place, ["base"])
    for text in ("<<<<<<< HEAD\nstages: {\n", "stages: [3]\n", "- 3\n", "stages: {other-data: {outs: 3}}\n"):
        (place / "dvc.yaml").write_text(text)
        with pytest.raises(RecastError, match=r"dvc.yaml cannot be read.*recipes/other.yaml"):
            dvcfile.write(place, plan)
        assert (place / "dvc.yaml").read_text() == text
    (place / "dvc.yaml").unlink()
    assert dvcfile.write(place, plan) and not of_other(stages(place))


def test_a_sound_repository_has_nothing_to_warn_of(write):
    plan = make_sound_plan(write(EXTENDING), ["mine"])
    assert warning(plan) == "" and plan.broken == () and list(plan.recipes) == ["base", "mine", "other"]
    with pytest.raises(RecastError, match="no recipe named 'mien' in recipes/; did you mean 'mine'"):
        make_sound_plan(write({"recipes/other.yaml": "stage: {}\n"}), ["mien"])
