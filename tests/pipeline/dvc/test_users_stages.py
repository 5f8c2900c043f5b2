"""A user's own stages in the dvc.yaml of recipes, by the real DVC: added, synced, run by both, and up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from recast.pipeline.dvc import dvcfile
from recast.pipeline.planning.make_plan import make_plan
from tests.lib.as_if_run import lay_as_if_run
from tests.lib.repository import call, commit, copy_repository, parsed_lock


@pytest.fixture
def root(write) -> Path:
    """One recipe, up to date."""
    return lay_as_if_run(write, {})


def recast(root: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return call(root, "./recast", *arguments, check=check)


def dvc(root: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return call(root, sys.executable, "-m", "dvc", *arguments, check=check)


def test_a_stage_that_dvc_adds_stays_and_runs_beside_the_recipes(root):
    dep = "artifacts/base/akida/verify"
    params = root / "params.yaml"
    params.write_text(f"lr: 3\n{params.read_text()}")
    command = f"cat {dep}/metrics.json > report.txt"
    dvc(root, "stage", "add", "-n", "report", "-d", dep, "-p", "lr", "-M", "own.json", "-o", "report.txt", command)
    added = (root / "dvc.yaml").read_text()
    assert dvcfile.is_current(root, make_plan(root))
    for verb in (("sync",), ("sync", "--check"), ("run",), ("sync",)):
        recast(root, *verb)
        assert (root / "dvc.yaml").read_text() == added
    # as before, the stages of others run if a recipe reads them, or by DVC
    assert "report" not in parsed_lock(root)["stages"]
    own = root / "dvc.yaml"
    own.write_text(added.replace(command, f"{command}; echo {{}} > own.json"))
    done = dvc(root, "repro")
    assert done.stdout.count("Running stage") == 1 and "Running stage 'report'" in done.stdout
    assert (root / "report.txt").read_text() == '{"of": "base/akida/verify"}'
    assert dvc(root, "status").stdout == "Data and pipelines are up to date.\n"
    assert parsed_lock(root)["stages"]["report"]["params"] == {"params.yaml": {"lr": 3}}
    assert "15 stages up to date" in recast(root, "run").stdout
    # a key of the user's own makes no stage of a recipe run
    params.write_text(params.read_text().replace("lr: 3", "lr: 4"))
    done = dvc(root, "repro")
    assert {line for line in done.stdout.splitlines() if line.startswith("Running")} == {
        "Running stage 'guard':",
        "Running stage 'report':",
    }


def test_an_edited_recipe_is_synced_and_the_users_stages_stand(root):
    dvc(root, "stage", "add", "-n", "mine", "-o", "mine.txt", "echo mine > mine.txt")
    (root / "recipes/more.yaml").write_text("extends: base\nstages:\n  train: {lr: 0.5}\n")
    stale = dvc(root, "repro", "mine", check=False)
    assert stale.returncode == 0  # it reads nothing of a recipe's
    assert "dvc.yaml no longer matches the recipes" in dvc(root, "repro", "base", check=False).stderr
    assert "wrote dvc.yaml" in recast(root, "sync").stdout
    stages = YAML(typ="safe").load((root / "dvc.yaml").read_text())["stages"]
    assert stages["mine"] == {"cmd": "echo mine > mine.txt", "outs": ["mine.txt"]} and "more-train" in stages
    assert "Running stage 'guard'" in dvc(root, "repro", "base").stdout
    assert dvc(root, "status", "base", "mine").stdout == "Data and pipelines are up to date.\n"
    dvc(root, "remove", "mine")
    assert dvcfile.is_current(root, make_plan(root))


def test_a_name_that_a_recipe_needs_is_told_by_the_verbs_and_by_the_guard(root):
    (root / "recipes/more.yaml").write_text("extends: base\nstages:\n  train: {lr: 0.5}\n")
    dvc(root, "stage", "add", "-n", "more", "-o", "mine.txt", "echo mine > mine.txt")
    before = (root / "dvc.yaml").read_text()
    refusal = "a stage of your own bears the name 'more', which Recast needs for recipe 'more'; rename yours"
    for verb in (("sync",), ("sync", "--check"), ("run", "base"), ("plan",)):
        done = recast(root, *verb, check=False)
        assert done.returncode == 2 and done.stderr.startswith("dvc.yaml:") and refusal in done.stderr
        assert "Traceback" not in done.stderr and done.stderr.count("bears the name") == 1
    assert refusal in dvc(root, "repro", "base", check=False).stderr
    assert (root / "dvc.yaml").read_text() == before


def test_a_recipe_reads_what_a_stage_of_the_users_makes(tmp_path):
    """In one dvc.yaml, for real: the stage runs because the recipe's data reads its output."""
    place = tmp_path / "it"
    place.mkdir()
    copy_repository(place)
    for path in (place / "recipes").glob("*.yaml"):
        path.unlink()
    own = "# ours\nstages:\n  clean:\n    cmd: cp raw.npz clean.npz  # so\n    deps: [raw.npz]\n    outs: [clean.npz]\n"
    (place / "dvc.yaml").write_text(own)
    _write_npz(place / "raw.npz")
    (place / "recipes/points.yaml").write_text(
        "model: models.lenet:LeNet\nstages:\n  data: {dataset: npz, path: clean.npz}\ntargets: {onnxruntime: {}}\n"
    )
    ran = recast(place, "run", "points", "--stage", "data")
    assert "clean: done" in ran.stdout and "points/data: done" in ran.stdout
    assert (place / "dvc.yaml").read_text().startswith(own)
    commit(place, "ran")
    assert dvc(place, "status", "points-data", "clean").stdout == "Data and pipelines are up to date.\n"
    _write_npz(place / "raw.npz", 1)
    done = dvc(place, "repro", "points-data")
    assert "Running stage 'clean'" in done.stdout and "Running stage 'points-data'" in done.stdout
    assert "3 stages up to date" in recast(place, "run", "points", "--stage", "data").stdout


def _write_npz(path: Path, shift: int = 0) -> None:
    """120 images of 8x8, and their classes."""
    x = (np.arange(120 * 64).reshape(120, 8, 8) * 7 + shift) % 251
    np.savez(path, x=x.astype(np.uint8), y=np.arange(120) % 4)
