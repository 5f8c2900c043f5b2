"""`recast repair` as a user has it: a network on which int8 loses, by the real stages and through DVC's cache."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from recast.pipeline.cli.main import main
from recast.pipeline.core.errors import RecastError
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.processes import environments
from recast.pipeline.repair.workspace import copied
from tests.lib.repository import ROOT, Write, call, commit, copy_repository, git

RECIPE = """\
# why this one is here
stages:
  data: {dataset: npz, path: data/outliers.npz, mean: 0.0, std: 1.0}
  import: {path: data/outliers.onnx}
  simplify: {}
targets:
  onnxruntime:
    calibrate: {method: minmax}  # as it was
    verify: {min_agreement: null, max_accuracy_drop: 0.02}
"""


def _kept(repository: Path) -> list[str]:
    return sorted(path.name for path in (repository / ".dvc/tmp/exps").glob("recast-repair-*"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this repository with one recipe, whose network loses by outliers among its calibration samples."""
    place = copy_repository(tmp_path_factory.mktemp("a project") / "project")
    for recipe in (place / "recipes").glob("*.yaml"):
        recipe.unlink()
    python = environments.ensure(ROOT, "torch", print).python
    made = tmp_path_factory.mktemp("networks")
    subprocess.run([str(python), str(ROOT / "benchmarks/lossy_networks.py"), str(made)], check=True)
    (place / "data").mkdir(exist_ok=True)
    for suffix in ("onnx", "npz"):
        shutil.copy(made / f"outliers.{suffix}", place / f"data/outliers.{suffix}")
    (place / "recipes/outliers.yaml").write_text(RECIPE)
    call(place, "./recast", "sync")
    commit(place, "a recipe")
    return place


@pytest.mark.slow
def test_what_is_found_is_written_and_is_in_the_cache(project: Path) -> None:
    before = (project / "recipes/outliers.yaml").read_text()
    done = call(project, "./recast", "repair", "outliers/onnxruntime", "--json")
    report: dict[str, Any] = json.loads(done.stdout)
    assert (project / "recipes/outliers.yaml").read_text() == before
    assert _kept(project) == []
    first, *others = report["candidates"]
    assert first["values"] == {} and not first["meets"] and "max_accuracy_drop" in first["missed"][0]
    chosen = report["candidates"][report["chosen"]]
    metrics = chosen["metrics"]
    assert chosen in others and metrics["accuracy_float"] - metrics["accuracy_emitted"] <= 0.02 + 1e-12
    assert report["change"].startswith("--- a/recipes/outliers.yaml\n+++ b/recipes/outliers.yaml\n")

    # asked again nothing runs, and now it is written
    again = call(project, "./recast", "repair", "outliers/onnxruntime", "--json", "--write")
    repeated = json.loads(again.stdout)
    assert [one["values"] for one in repeated["candidates"]] == [one["values"] for one in report["candidates"]]
    assert all(one["cached"] for one in repeated["candidates"])
    written = (project / "recipes/outliers.yaml").read_text()
    assert "# why this one is here" in written and "# as it was" in written and written != before

    # and the recipe's own run, with its limits, takes every stage of the target from the cache
    run = call(project, "./recast", "run", "outliers", "--json")
    states = {event["stage"]: event["state"] for event in map(json.loads, run.stdout.splitlines()) if "stage" in event}
    assert {stage: state for stage, state in states.items() if "onnxruntime" in stage and state == "done"} == {}
    assert states["outliers/onnxruntime/verify"] in ("cached", "up to date")


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_found_and_leaves_no_copy(project: Path) -> None:
    git(project, "checkout", "--quiet", "recipes")
    command = ["./recast", "repair", "outliers/onnxruntime", "--max-drop", "0"]
    with subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None and process.stdout is not None
        told = process.stderr.readline()
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        shown = process.stdout.read()
        assert process.wait() == 130
    assert told.startswith("candidate 1, the recipe as it is:")
    assert "Interrupted; what had been tried is kept." in shown and "the recipe as it is" in shown
    assert _kept(project) == []


def test_what_cannot_be_repaired_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = write({})
    monkeypatch.chdir(place)
    for arguments, message in (
        (["base/akidda"], "did you mean"),
        (["base"], "'base' names no target"),
        (["base/akida", "--budget", "10"], "must be a time with its unit"),
        (["base/akida", "--max-drop", "5"], "must be a number from 0 to 1"),
    ):
        with pytest.raises(SystemExit) as exit:
            main(["repair", *arguments])
        assert exit.value.code == 2
        assert message in capsys.readouterr().err


def test_a_project_outside_of_git_is_refused(write: Write) -> None:
    place = write({})
    with pytest.raises(RecastError, match="git cannot say"), copied(place, make_plan(place)):
        raise AssertionError("a copy was made")
    assert _kept(place) == []
